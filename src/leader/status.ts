import type { LeaderStatus } from '../core/leader.js';
import { memberToWire } from '../wire/convert-view.js';
import type { GetStatusResponse } from '../wire/gen/kvs/v1/leader.js';

export function statusToWire(status: LeaderStatus): GetStatusResponse {
  return {
    ...status,
    members: status.members.map((row) => ({ ...row, member: memberToWire(row.member) })),
    viewChange: { ...status.viewChange },
    warnings: [...status.warnings],
    poolReplicas: [...status.poolReplicas],
  };
}

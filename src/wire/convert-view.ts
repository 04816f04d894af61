import { ViewUpdate } from '../core/message.js';
import { Mode } from '../core/namespace.js';
import type {
  BucketRow,
  Member,
  View,
  ViewChange,
  ViewDelta,
  ViewParameters,
} from '../core/view.js';
import { ChangePhase, MemberState } from '../core/view.js';
import { finite, required, WireError } from './binary.js';
import type * as wire from './gen/kvs/v1/view.js';

export function memberToWire(member: Member): wire.Member {
  return { ...member };
}

export function memberFromWire(member: wire.Member): Member {
  const state = Object.values(MemberState).find((known) => known === (member.state as number));
  if (state === undefined) throw new WireError(`a member has the unknown state ${member.state}`);
  return { ...member, weight: finite(member.weight, 'the weight of a member'), state };
}

function rowToWire(bucket: number, row: BucketRow): wire.BucketRow {
  const { epoch, floor, founded } = row;
  const sets = { replicas: [...row.replicas], target: [...row.target], before: [...row.before] };
  return { bucket, epoch, floor, founded, ...sets };
}

function rowFromWire(row: wire.BucketRow): BucketRow {
  const { epoch, replicas, target, floor, founded, before } = row;
  return { epoch, replicas, target, floor, founded, before };
}

function changeFromWire(change: wire.ViewChange): ViewChange {
  const phase = Object.values(ChangePhase).find((known) => known === (change.phase as number));
  if (phase === undefined) {
    throw new WireError(`a view change has the unknown phase ${change.phase}`);
  }
  return { ...change, phase };
}

export function viewToWire(view: View): wire.View {
  return {
    clusterId: view.clusterId,
    epoch: view.epoch,
    parameters: { ...view.parameters },
    members: Array.from(view.members.values(), memberToWire),
    rows: view.rows.map((row, bucket) => rowToWire(bucket, row)),
    change: { ...view.change },
    namespaces: namespacesToWire(view.namespaces),
    reason: view.reason,
    atMs: view.atMs,
  };
}

function namespacesToWire(namespaces: View['namespaces']): wire.Namespace[] {
  return Array.from(namespaces.values(), (one) => ({ ...one, mode: one.mode as number }));
}

function namespacesFromWire(list: readonly wire.Namespace[]): View['namespaces'] {
  return new Map(
    list.map((one) => {
      const mode = Object.values(Mode).find((known) => known === (one.mode as number));
      if (mode === undefined) throw new WireError(`a namespace has the unknown mode ${one.mode}`);
      return [one.number, { ...one, mode }];
    }),
  );
}

export function viewFromWire(view: wire.View): View {
  const members = view.members.map(memberFromWire);
  const parameters = { ...required<ViewParameters>(view.parameters, 'view parameters') };
  if (view.rows.length % Math.max(1, parameters.bucketCount) !== 0) {
    throw new WireError(`${view.rows.length} rows for pools of ${parameters.bucketCount} buckets`);
  }
  return {
    clusterId: view.clusterId,
    epoch: view.epoch,
    parameters,
    members: new Map(members.map((member) => [member.ordinal, member])),
    rows: view.rows.map((row, index) => {
      if (row.bucket !== index) throw new WireError(`row ${index} is for bucket ${row.bucket}`);
      return rowFromWire(row);
    }),
    change: changeFromWire(required(view.change, 'view change')),
    namespaces: namespacesFromWire(view.namespaces),
    reason: view.reason,
    atMs: view.atMs,
  };
}

function deltaToWire(delta: ViewDelta): wire.ViewDelta {
  const { clusterId, fromEpoch, toEpoch, reason, atMs, change, namespaces } = delta;
  return {
    clusterId,
    fromEpoch,
    toEpoch,
    members: delta.members.map(memberToWire),
    rows: Array.from(delta.rows, ([bucket, row]) => rowToWire(bucket, row)),
    reason,
    atMs,
    ...(delta.parameters === null ? {} : { parameters: { ...delta.parameters } }),
    ...(change === null ? {} : { change: { ...change } }),
    ...(namespaces === null ? {} : { namespaces: { namespaces: namespacesToWire(namespaces) } }),
  };
}

function deltaFromWire(delta: wire.ViewDelta): ViewDelta {
  const { clusterId, fromEpoch, toEpoch, reason, atMs } = delta;
  return {
    clusterId,
    fromEpoch,
    toEpoch,
    parameters: delta.parameters === undefined ? null : { ...delta.parameters },
    members: delta.members.map(memberFromWire),
    rows: new Map(delta.rows.map((row) => [row.bucket, rowFromWire(row)])),
    change: delta.change === undefined ? null : changeFromWire(delta.change),
    namespaces:
      delta.namespaces === undefined ? null : namespacesFromWire(delta.namespaces.namespaces),
    reason,
    atMs,
  };
}

export function viewUpdateToWire(update: ViewUpdate): wire.ViewUpdate {
  if (update.view !== null) return { update: { $case: 'view', value: viewToWire(update.view) } };
  if (update.delta !== null) {
    return { update: { $case: 'delta', value: deltaToWire(update.delta) } };
  }
  return { update: undefined };
}

export function viewUpdateFromWire(message: wire.ViewUpdate): ViewUpdate {
  const { $case, value } = required(message.update, 'view');
  return $case === 'view'
    ? new ViewUpdate(viewFromWire(value), null)
    : new ViewUpdate(null, deltaFromWire(value));
}

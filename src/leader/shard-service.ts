import type { sendUnaryData, ServiceError } from '@grpc/grpc-js';

import type { PreviewAnswer } from '../core/preview.js';
import { type ShardAnswer, shardMembers } from '../core/shards.js';
import { preconditionError } from '../transport/status.js';
import { memberToWire } from '../wire/convert-view.js';
import type {
  LeaderServiceServer,
  ListShardsResponse,
  PreviewPlacementResponse,
} from '../wire/gen/kvs/v1/leader.js';
import type { LeaderDriver } from './driver.js';

type Ready = (refuse: (error: Partial<ServiceError>) => void) => LeaderDriver | null;

/** The operations on shards of the view leader's service. */
export function shardService(
  ready: Ready,
): Pick<LeaderServiceServer, 'listShards' | 'addShardMember' | 'reshard' | 'removeShard'> {
  return {
    listShards: (_call, done) => {
      const driver = ready(done);
      if (driver === null) return;
      const { policy } = driver.view.parameters;
      if (policy === 'shards') done(null, shardsOf(driver));
      else done(preconditionError('NO_SHARDS', `the policy is ${policy}, which has no shards`));
    },
    addShardMember: (call, done) => {
      const { shard, id } = call.request;
      const driver = ready(done);
      if (driver === null) return;
      void tell(
        driver,
        driver.shards((shards) => shards.addMember(shard, id)),
        done,
      );
    },
    reshard: (call, done) => {
      const { shards: count, dryRun } = call.request;
      const driver = ready(done);
      if (driver === null) return;
      if (!dryRun) {
        void tell(
          driver,
          driver.shards((shards) => shards.reshard(count)),
          done,
        );
        return;
      }
      previewToWire(driver.previewReshard(count), (error, preview) => {
        if (preview === null) done(error);
        else done(null, { epoch: driver.view.epoch, preview });
      });
    },
    removeShard: (call, done) => {
      const { shard } = call.request;
      const driver = ready(done);
      if (driver === null) return;
      void tell(
        driver,
        driver.shards((shards) => shards.remove(shard)),
        done,
      );
    },
  };
}

/** A preview, or why there is none. */
export function previewToWire(
  answer: PreviewAnswer,
  done: (error: Partial<ServiceError> | null, preview: PreviewPlacementResponse | null) => void,
): void {
  if (!answer.ok) {
    done(preconditionError(answer.code, answer.message), null);
    return;
  }
  const { moves, loads, replicasLeast, seconds } = answer.preview;
  done(null, { moves: [...moves], loads: [...loads], replicasLeast, seconds });
}

function shardsOf(driver: LeaderDriver): ListShardsResponse {
  const { members, parameters } = driver.view;
  const held = new Map(
    driver.status().members.map(({ member, records }) => [member.ordinal, records]),
  );
  return {
    shards: shardMembers(members.values(), parameters.shardCount).map((list, at) => ({
      shard: at + 1,
      members: list.map((member) => {
        const { id, address, state } = memberToWire(member);
        return { id, address, state, records: held.get(member.ordinal) ?? 0 };
      }),
    })),
  };
}

async function tell(
  driver: LeaderDriver,
  answering: Promise<ShardAnswer>,
  done: sendUnaryData<{ epoch: number; preview: undefined }>,
): Promise<void> {
  const answer = await answering;
  if (answer.ok) done(null, { epoch: driver.view.epoch, preview: undefined });
  else done(preconditionError(answer.code, answer.message));
}

import type { Mode } from '../core/namespace.js';
import type {
  AddShardMemberResponse,
  ChangeViewResponse,
  CreateNamespaceResponse,
  DeleteNamespaceResponse,
  DrainServerResponse,
  LeaderServiceClient,
  ListShardsResponse,
  PreviewPlacementResponse,
  RemoveServerResponse,
  RemoveShardResponse,
  ReshardResponse,
  Shard,
  SteerRebalanceResponse,
} from '../wire/gen/kvs/v1/leader.js';
import type { Deliver, ViewSource } from './views.js';

/** What may be changed of a running rebalance; what is absent stays. */
export interface RebalanceSteering {
  readonly paused?: boolean;
  /** Bytes per second one server may send to others; 0 is unlimited. */
  readonly rateBytes?: number;
  /** Back to the table before the running view change; what has moved moves back. */
  readonly cancel?: boolean;
}

const NAMESPACES = '`kvs-client namespace list` shows those there are';

/** What an operator asks of the view leader. */
export class Admin {
  constructor(private readonly views: ViewSource) {}

  /**
   * Give a server that is down up for good. Refused (`DATA_LOSS`) while it has the only in-sync
   * copy of a bucket, unless the loss is accepted: such buckets begin anew, empty.
   */
  removeServer(
    id: string,
    options: { readonly acceptDataLoss?: boolean } = {},
  ): Promise<RemoveServerResponse> {
    const request = { id, acceptDataLoss: options.acceptDataLoss === true };
    return this.ask((leader, deliver) => leader.removeServer(request, ...deliver));
  }

  /**
   * These servers hold the data, and no others do: one counted view change. Resolves when it is
   * planned; `status` tells how it goes.
   */
  changeView(
    servers: readonly string[],
    options: { readonly dryRun?: boolean } = {},
  ): Promise<ChangeViewResponse> {
    const request = { servers: [...servers], dryRun: options.dryRun === true };
    return this.ask((leader, deliver) => leader.changeView(request, ...deliver));
  }

  /** Let others take over what a server holds; it serves until they have. `undo`: no longer. */
  drainServer(id: string, options: { readonly undo?: boolean } = {}): Promise<DrainServerResponse> {
    const request = { id, undo: options.undo === true };
    return this.ask((leader, deliver) => leader.drainServer(request, ...deliver));
  }

  /**
   * A key space of its own. `ttlMs`: how long its values live; 0, or none: for ever. `replicas`: of
   * each value, 1 to 16; 0, or none: as many as the cluster's.
   */
  createNamespace(
    name: string,
    mode: Mode,
    { ttlMs = 0, replicas = 0 }: { readonly ttlMs?: number; readonly replicas?: number } = {},
  ): Promise<CreateNamespaceResponse> {
    const request = { name, mode: mode as number, ttlMs, replicas };
    return this.ask((leader, deliver) => leader.createNamespace(request, ...deliver), NAMESPACES);
  }

  /** Refused from now on; the servers remove its records. */
  deleteNamespace(name: string): Promise<DeleteNamespaceResponse> {
    return this.ask((leader, deliver) => leader.deleteNamespace({ name }, ...deliver), NAMESPACES);
  }

  /** Pause, resume or cancel a rebalance, or change its rate; in force when it resolves. */
  steerRebalance(steering: RebalanceSteering): Promise<SteerRebalanceResponse> {
    const request = { ...steering, cancel: steering.cancel === true };
    return this.ask((leader, deliver) => leader.steerRebalance(request, ...deliver));
  }

  /** What would move if so many servers joined and those left. Changes nothing. */
  previewPlacement(
    added: number,
    without: readonly string[] = [],
  ): Promise<PreviewPlacementResponse> {
    const request = { added, without: [...without] };
    return this.ask((leader, deliver) => leader.previewPlacement(request, ...deliver));
  }

  /** The shards of a cluster with the policy `shards`, their servers and key counts. */
  async shards(): Promise<Shard[]> {
    const { shards } = await this.ask<ListShardsResponse>((leader, deliver) =>
      leader.listShards({}, ...deliver),
    );
    return shards;
  }

  /** A server takes over the identity, table and data of a shard. */
  addShardMember(shard: number, id: string): Promise<AddShardMemberResponse> {
    return this.ask((leader, deliver) => leader.addShardMember({ shard, id }, ...deliver));
  }

  /** Another number of shards; refused when there are not two servers for each. */
  reshard(shards: number, options: { readonly dryRun?: boolean } = {}): Promise<ReshardResponse> {
    const request = { shards, dryRun: options.dryRun === true };
    return this.ask((leader, deliver) => leader.reshard(request, ...deliver));
  }

  /** A shard's servers are drained; its data goes to the other shards. */
  removeShard(shard: number): Promise<RemoveShardResponse> {
    return this.ask((leader, deliver) => leader.removeShard({ shard }, ...deliver));
  }

  private ask<R>(
    start: (leader: LeaderServiceClient, deliver: Deliver<R>) => unknown,
    hint = '`kvs-client members` lists the servers',
  ): Promise<R> {
    return this.views.askLeader(start, hint);
  }
}

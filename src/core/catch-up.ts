import type { Follower, Transfer } from './follower.js';
import type { Host } from './host.js';
import type { Ordinal } from './ids.js';
import {
  LearnProbe,
  type LearnState,
  NOBODY,
  Reconfigure,
  type SnapshotAck,
  SnapshotChunk,
} from './message.js';
import { sizeOf } from './operation.js';
import type { Primary } from './primary.js';
import { ChangePhase, isUp, onlyMoves } from './view.js';

/** A learner this close to the end of the log begins to count for commits. */
const NEAR_ENTRIES = 256;
const LOG_READ_BYTES = 512 * 1024;
const CHUNK_RECORDS = 2048;
const CHUNK_ATTEMPTS = 5;
/**
 * In times of `resendMs`: a busy server takes a while for a chunk, and would not be helped by
 * another copy. Only a broken link loses one.
 */
const CHUNK_PATIENCE = 4;
const PROBE_DOUBLINGS = 4;

/**
 * The sending end of catching up. A learner is asked what it holds; then it gets log entries if
 * the log still has them, else a snapshot and the log from the snapshot's base on. The snapshot is
 * fuzzy: records may be newer than its base, and replaying the log from the base makes them right
 * because entries state effects.
 *
 * A learner counts for commits from *before* it is proposed to the view leader, so that no entry
 * can be committed without a replica that the view leader may already rely on.
 */
export class CatchUp {
  constructor(
    private readonly primary: Primary,
    private readonly host: Host,
  ) {}

  /** Ask what the learner holds, if a transfer permit is free; else a later tick does. */
  probe(follower: Follower): void {
    const { host, primary } = this;
    this.stop(follower);
    follower.mode = 'probe';
    follower.match = 0;
    follower.sentMs = -Infinity;
    // One that is down would only keep a permit from others.
    if (!isUp(host.view, follower.ordinal) || this.held(follower)) return;
    if (!host.beginTransfer()) return;
    follower.permit = true;
    follower.probes += 1;
    follower.sentMs = host.now;
    host.send(follower.ordinal, new LearnProbe(primary.bucket.id, primary.ballot));
  }

  /** Give up what is under way for this follower. */
  stop(follower: Follower): void {
    follower.transfer = null;
    follower.reading = false;
    this.freePermit(follower);
  }

  onState(from: Ordinal, message: LearnState): void {
    const follower = this.primary.followers.get(from);
    if (follower?.mode !== 'probe' || message.ballot !== this.primary.ballot) return;
    follower.probes = 0;
    const { commitPoint, last } = this.primary.bucket;
    // It may know of more commits than a restarted primary; everything committed is in our log.
    if (message.commitPoint > last) return;
    if (message.commitPoint === 0 && commitPoint > 0) {
      this.beginSnapshot(follower, message.transfer);
      return;
    }
    follower.match = message.commitPoint;
    follower.next = message.commitPoint + 1;
    follower.previousBallot = message.commitBallot;
    follower.mode = 'log';
    follower.resetCounts();
    // What it has already is not sent twice. Its count was checked before it kept that.
    follower.recordsSent = message.taken;
    follower.recordsTaken = message.taken;
    follower.snapshotUnder = message.transfer;
    this.advance(follower);
  }

  /** Go on with a follower that is not at the live end of the log. */
  advance(follower: Follower): void {
    const { primary } = this;
    if (follower.mode === 'replicate') {
      if (follower.next > primary.bucket.commitPoint) return;
      // Commits went past it while it was not counted.
      follower.mode = 'log';
    }
    if (follower.mode !== 'log' || follower.reading) return;
    if (follower.next > primary.bucket.commitPoint) {
      follower.mode = 'replicate';
      this.freePermit(follower);
      primary.sendPrepared(follower);
      // What it holds already may be all that a commit waits for.
      primary.tryCommit();
      return;
    }
    if (follower.match + 1 < follower.next) return;
    this.readLog(follower);
  }

  onChunkAck(from: Ordinal, message: SnapshotAck): void {
    const follower = this.primary.followers.get(from);
    const transfer = follower?.transfer;
    if (follower === undefined || transfer === null || transfer === undefined) return;
    const { chunk } = transfer;
    if (message.transfer !== transfer.transfer || message.index !== chunk?.index) return;
    const bytes = sizeOf(chunk.records);
    follower.recordsSent += chunk.records.length;
    follower.bytesSent += bytes;
    if (chunk.last && message.taken !== chunk.total) {
      // Something got lost on the way. What it holds is void; it is sent again.
      this.probe(follower);
      return;
    }
    if (!chunk.last) {
      transfer.after = chunk.records.at(-1)?.key ?? transfer.after;
      transfer.index += 1;
      transfer.chunk = null;
      this.readChunk(follower, transfer);
      return;
    }
    follower.recordsTaken = message.taken;
    follower.transfer = null;
    follower.match = transfer.base;
    follower.next = transfer.base + 1;
    follower.previousBallot = transfer.baseBallot;
    follower.mode = 'log';
    this.advance(follower);
  }

  /** Count learners that are near, and propose those that are in sync. */
  propose(): void {
    const { primary, host } = this;
    const { bucket } = primary;
    if (!primary.ready) return;
    for (const follower of primary.followers.values()) {
      if (!follower.learner || follower.mode !== 'replicate') continue;
      // In a view where it is up: should we restart, we find that view, and count it again.
      if (!isUp(host.view, follower.ordinal)) continue;
      if (!follower.counted) {
        if (bucket.last - follower.match > NEAR_ENTRIES) continue;
        follower.counted = true;
        follower.countedFrom = bucket.last;
      }
      if (follower.match < follower.countedFrom) continue;
      if (host.now - follower.proposedMs < host.settings.resendMs) continue;
      if (!host.causalReady(bucket.id, follower.ordinal)) continue;
      follower.proposedMs = host.now;
      const { ordinal, recordsSent, recordsTaken, bytesSent } = follower;
      const { epoch } = primary;
      host.outbox.toLeader(
        new Reconfigure(bucket.id, epoch, ordinal, recordsSent, recordsTaken, bytesSent),
      );
    }
  }

  tick(): void {
    const { now, settings } = this.host;
    for (const follower of this.primary.followers.values()) {
      const quiet = now - follower.sentMs >= settings.resendMs;
      if (follower.mode === 'probe' && quiet) this.probeAgain(follower);
      else if (follower.mode === 'snapshot') this.tickSnapshot(follower, now);
      else if (follower.mode === 'log' && quiet && !follower.reading) this.retryLog(follower);
    }
    this.propose();
  }

  /**
   * What is only to be moved waits until the change has started, and while it is paused. One that
   * counts does not: commits wait for it.
   */
  private held(follower: Follower): boolean {
    const { parameters, change } = this.host.view;
    if (follower.counted) return false;
    if (!parameters.rebalancePaused && change.phase !== ChangePhase.Prime) return false;
    return this.moves;
  }

  /** The bucket has all its replicas: the rate is for it. What was lost is rebuilt at once (D2). */
  private get moves(): boolean {
    const row = this.host.view.rows[this.primary.bucket.id];
    return row !== undefined && onlyMoves(row);
  }

  /** One that cannot be reached is asked less and less often, and keeps no permit meanwhile. */
  private probeAgain(follower: Follower): void {
    this.freePermit(follower);
    const { now, settings } = this.host;
    const pauseMs = settings.resendMs * 2 ** Math.min(follower.probes - 1, PROBE_DOUBLINGS);
    if (now - follower.sentMs >= pauseMs) this.probe(follower);
  }

  private freePermit(follower: Follower): void {
    if (!follower.permit) return;
    follower.permit = false;
    this.host.endTransfer();
  }

  private retryLog(follower: Follower): void {
    follower.sentMs = this.host.now;
    // What was sent may be lost; probing again is cheap and cannot be wrong.
    if (follower.match + 1 < follower.next) this.probe(follower);
    else this.advance(follower);
  }

  private readLog(follower: Follower): void {
    const { host, primary } = this;
    const { ballot } = primary;
    follower.reading = true;
    const token = host.expect((completion) => {
      if (completion.type !== 'logRead') return;
      if (primary.ballot !== ballot || primary.followers.get(follower.ordinal) !== follower) return;
      if (follower.mode !== 'log' || !follower.reading) return;
      follower.reading = false;
      if (completion.entries === null) {
        const { snapshotUnder } = follower;
        // Each number serves once.
        if (snapshotUnder === 0) this.probe(follower);
        else this.beginSnapshot(follower, snapshotUnder);
        return;
      }
      const { commitPoint } = primary.bucket;
      const committed = completion.entries.filter((entry) => entry.sequence <= commitPoint);
      if (committed.length > 0) primary.sendEntries(follower, committed, false);
    });
    host.outbox.readLog(token, primary.bucket.id, follower.next, LOG_READ_BYTES);
  }

  private beginSnapshot(follower: Follower, transfer: number): void {
    const { bucket } = this.primary;
    if (this.primary.mayBeAdmitted(follower)) {
      this.renew(follower);
      return;
    }
    follower.mode = 'snapshot';
    follower.snapshotUnder = 0;
    follower.match = 0;
    follower.resetCounts();
    follower.transfer = {
      transfer,
      base: bucket.commitPoint,
      baseBallot: bucket.commitBallot,
      meta: bucket.meta(),
      chunk: null,
      index: 0,
      after: '',
      attempts: 0,
      waiting: false,
    };
    this.readChunk(follower, follower.transfer);
  }

  /**
   * A snapshot voids what the learner holds, and the view leader may count on that already. Ask for
   * a new bucket epoch first: either the learner turns out to be in, or every proposal is void.
   */
  private renew(follower: Follower): void {
    const { host, primary } = this;
    this.stop(follower);
    follower.mode = 'probe';
    follower.sentMs = host.now;
    host.outbox.toLeader(new Reconfigure(primary.bucket.id, primary.epoch, NOBODY, 0, 0, 0));
  }

  private readChunk(follower: Follower, transfer: Transfer): void {
    const { host, primary } = this;
    const { bucket } = primary;
    const { moves } = this;
    if ((moves && host.transferBudget() < 0) || this.held(follower)) {
      transfer.waiting = true;
      return;
    }
    transfer.waiting = false;
    const chunkBytes = moves ? host.transferChunk() : host.settings.chunkBytes;
    // Many transfers read at the same time: none may count on what another one takes.
    const charge = (bytes: number): void => {
      if (moves) host.charge(bytes);
    };
    charge(chunkBytes);
    const token = host.expect((completion) => {
      charge((completion.type === 'scanned' ? sizeOf(completion.records) : 0) - chunkBytes);
      if (follower.transfer !== transfer) return;
      if (completion.type === 'damaged') {
        // Another replica will be the primary; if there is none, this is tried again.
        this.stop(follower);
        follower.mode = 'probe';
        follower.sentMs = host.now;
      }
      if (completion.type !== 'scanned') return;
      transfer.chunk = new SnapshotChunk(
        bucket.id,
        primary.ballot,
        transfer.transfer,
        transfer.index,
        !completion.more,
        completion.records,
        transfer.meta,
        follower.recordsSent + completion.records.length,
      );
      transfer.meta = null;
      transfer.attempts = 0;
      follower.sentMs = host.now;
      host.send(follower.ordinal, transfer.chunk);
    });
    host.outbox.scan(token, bucket.id, transfer.after, CHUNK_RECORDS, chunkBytes);
  }

  private tickSnapshot(follower: Follower, now: number): void {
    const { transfer } = follower;
    if (transfer === null) return;
    if (transfer.waiting) this.readChunk(follower, transfer);
    const pauseMs = follower.resendMs * CHUNK_PATIENCE;
    if (transfer.chunk === null || now - follower.sentMs < pauseMs) return;
    transfer.attempts += 1;
    if (transfer.attempts > CHUNK_ATTEMPTS) {
      this.probe(follower);
      return;
    }
    follower.sentMs = now;
    this.host.send(follower.ordinal, transfer.chunk);
  }
}

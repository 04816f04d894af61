import {
  Beacon,
  BeaconAnswer,
  Decide,
  DecideAck,
  DecisionQuery,
  DigestReport,
  LearnProbe,
  LearnState,
  type PeerMessage,
  Prepare,
  PrepareAck,
  PrepareRefused,
  RefusedBecause,
  SnapshotAck,
  SnapshotChunk,
  Vote,
  VoteRequest,
} from '../core/message.js';
import { Code } from '../core/refusal.js';
import * as causal from './convert-causal.js';
import { finite, fromBinary, required, toBinary, WireError } from './binary.js';
import { entryFromWire, entryToWire, metaFromWire, metaToWire } from './convert-entry.js';
import {
  codeFromWire,
  recordFromWire,
  recordToWire,
  writeFromWire,
  writeToWire,
} from './convert-operation.js';
import { viewUpdateFromWire, viewUpdateToWire } from './convert-view.js';
import type * as wire from './gen/kvs/v1/peer.js';

type Wire = NonNullable<wire.PeerMessage['message']>;

const REASONS = new Set<number>(Object.values(RefusedBecause));

export function peerMessageToWire(message: PeerMessage): wire.PeerMessage {
  return { message: toWire(message) };
}

export function peerMessageFromWire(message: wire.PeerMessage): PeerMessage {
  return fromWire(required(message.message, 'kind that this server knows'));
}

function toWire(message: PeerMessage): Wire {
  switch (message.type) {
    case 'prepare':
      return { $case: 'prepare', value: prepareToWire(message) };
    case 'prepareAck':
      return { $case: 'prepareAck', value: message };
    case 'prepareRefused':
      return { $case: 'prepareRefused', value: message };
    case 'beacon':
      return { $case: 'beacon', value: message };
    case 'beaconAnswer':
      return { $case: 'beaconAnswer', value: message };
    case 'learnProbe':
      return { $case: 'learnProbe', value: message };
    case 'learnState':
      return { $case: 'learnState', value: message };
    case 'snapshotChunk':
      return { $case: 'snapshotChunk', value: chunkToWire(message) };
    case 'snapshotAck':
      return { $case: 'snapshotAck', value: message };
    case 'voteRequest':
      return {
        $case: 'voteRequest',
        value: {
          ...transaction(message),
          settledBelow: message.settledBelow,
          participants: [...message.participants],
          writes: message.writes.map(writeToWire),
        },
      };
    case 'vote': {
      const { yes, version, code, detail } = message;
      const value = { ...transaction(message), yes, version, code: code as number, detail };
      return { $case: 'vote', value };
    }
    case 'decide': {
      const { commit, version } = message;
      return { $case: 'decide', value: { ...transaction(message), commit, version } };
    }
    case 'decideAck':
      return { $case: 'decideAck', value: transaction(message) };
    case 'decisionQuery': {
      const participants = [...message.participants];
      return { $case: 'decisionQuery', value: { ...transaction(message), participants } };
    }
    case 'digestReport':
      return { $case: 'digestReport', value: message };
    case 'causalPush':
      return { $case: 'causalPush', value: causal.pushToWire(message) };
    case 'causalAck':
      return { $case: 'causalAck', value: causal.ackToWire(message) };
    case 'causalMark':
      return { $case: 'causalMark', value: causal.markToWire(message) };
    case 'causalBehind':
      return { $case: 'causalBehind', value: message };
    case 'causalDigest':
      return { $case: 'causalDigest', value: causal.digestToWire(message) };
    case 'causalStamps':
      return { $case: 'causalStamps', value: causal.stampsToWire(message) };
    case 'causalPull':
      return { $case: 'causalPull', value: causal.pullToWire(message) };
    case 'causalRecords':
      return { $case: 'causalRecords', value: causal.recordsToWire(message) };
    case 'viewUpdate':
      return { $case: 'viewUpdate', value: viewUpdateToWire(message) };
  }
}

function fromWire({ $case, value }: Wire): PeerMessage {
  switch ($case) {
    case 'prepare':
      return prepareFromWire(value);
    case 'prepareAck':
      return new PrepareAck(value.bucket, value.ballot, value.upTo, value.commitPoint);
    case 'prepareRefused':
      return refusedFromWire(value);
    case 'beacon':
      return new Beacon(value.epoch, finite(value.sentMs, 'the time of a beacon'));
    case 'beaconAnswer':
      return new BeaconAnswer(value.epoch, finite(value.sentMs, 'the time of a beacon'));
    case 'learnProbe':
      return new LearnProbe(value.bucket, value.ballot);
    case 'learnState': {
      const { bucket, ballot, commitPoint, commitBallot, transfer, taken } = value;
      return new LearnState(bucket, ballot, commitPoint, commitBallot, transfer, taken);
    }
    case 'snapshotChunk':
      return chunkFromWire(value);
    case 'snapshotAck':
      return ackFromWire(value);
    case 'digestReport':
      return new DigestReport(value.bucket, value.sequence, value.digest);
    case 'causalPush':
      return causal.pushFromWire(value);
    case 'causalAck':
      return causal.ackFromWire(value);
    case 'causalMark':
      return causal.markFromWire(value);
    case 'causalBehind':
      return causal.behindFromWire(value);
    case 'causalDigest':
      return causal.digestFromWire(value);
    case 'causalStamps':
      return causal.stampsFromWire(value);
    case 'causalPull':
      return causal.pullFromWire(value);
    case 'causalRecords':
      return causal.recordsFromWire(value);
    case 'viewUpdate':
      return viewUpdateFromWire(value);
    case 'voteRequest':
    case 'vote':
    case 'decide':
    case 'decideAck':
    case 'decisionQuery':
      return transactionFromWire({ $case, value } as TransactionWire);
  }
}

type TransactionWire = Extract<
  Wire,
  { $case: 'voteRequest' | 'vote' | 'decide' | 'decideAck' | 'decisionQuery' }
>;

function transactionFromWire({ $case, value }: TransactionWire): PeerMessage {
  const client = toBinary(value.client);
  const { clientSequence, coordinatorBucket, bucket } = value;
  switch ($case) {
    case 'voteRequest':
      return new VoteRequest(
        client,
        clientSequence,
        value.settledBelow,
        coordinatorBucket,
        bucket,
        value.participants,
        value.writes.map(writeFromWire),
      );
    case 'vote':
      return new Vote(
        client,
        clientSequence,
        coordinatorBucket,
        bucket,
        value.yes,
        value.version,
        value.yes ? Code.Ok : codeFromWire(value.code),
        value.detail,
      );
    case 'decide': {
      const { commit, version } = value;
      return new Decide(client, clientSequence, coordinatorBucket, bucket, commit, version);
    }
    case 'decideAck':
      return new DecideAck(client, clientSequence, coordinatorBucket, bucket);
    case 'decisionQuery': {
      const { participants } = value;
      return new DecisionQuery(client, clientSequence, coordinatorBucket, bucket, participants);
    }
  }
}

function transaction(message: VoteRequest | Vote | Decide | DecideAck | DecisionQuery): {
  client: Buffer;
  clientSequence: number;
  coordinatorBucket: number;
  bucket: number;
} {
  const { clientSequence, coordinatorBucket, bucket } = message;
  return { client: fromBinary(message.client), clientSequence, coordinatorBucket, bucket };
}

function prepareToWire(message: Prepare): wire.Prepare {
  return {
    bucket: message.bucket,
    ballot: message.ballot,
    previousSequence: message.previousSequence,
    previousBallot: message.previousBallot,
    commitPoint: message.commitPoint,
    settle: message.settle,
    entries: message.entries.map(entryToWire),
  };
}

function prepareFromWire(value: wire.Prepare): Prepare {
  let sequence = value.previousSequence;
  for (const entry of value.entries) {
    sequence += 1;
    if (entry.sequence !== sequence) {
      throw new WireError(`entry ${entry.sequence} stands where ${sequence} belongs`);
    }
  }
  return new Prepare(
    value.bucket,
    value.ballot,
    value.previousSequence,
    value.previousBallot,
    value.commitPoint,
    value.settle,
    value.entries.map(entryFromWire),
  );
}

function refusedFromWire(value: wire.PrepareRefused): PrepareRefused {
  if (!REASONS.has(value.reason)) throw new WireError(`unknown reason ${value.reason}`);
  const reason = value.reason as RefusedBecause;
  return new PrepareRefused(value.bucket, value.ballot, value.bucketEpoch, value.have, reason);
}

function ackFromWire({ bucket, ballot, transfer, index, taken }: wire.SnapshotAck): SnapshotAck {
  return new SnapshotAck(bucket, ballot, transfer, index, taken);
}

function chunkToWire(message: SnapshotChunk): wire.SnapshotChunk {
  const { bucket, ballot, transfer, index, last, meta, total } = message;
  const records = message.records.map(recordToWire);
  const body = { bucket, ballot, transfer, index, last, records, total };
  return meta === null ? body : { ...body, meta: metaToWire(meta) };
}

function chunkFromWire(value: wire.SnapshotChunk): SnapshotChunk {
  const { bucket, ballot, transfer, index, last, total } = value;
  const records = value.records.map(recordFromWire);
  const meta = value.meta === undefined ? null : metaFromWire(value.meta);
  checkState(index, meta !== null);
  return new SnapshotChunk(bucket, ballot, transfer, index, last, records, meta, total);
}

/** Throws WireError where a chunk of a snapshot has the state of its bucket, and should not. */
export function checkState(index: number, hasState: boolean): void {
  if ((index === 0) === hasState) return;
  throw new WireError('the first chunk of a snapshot, and no other, carries the state');
}

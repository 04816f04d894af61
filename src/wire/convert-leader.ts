import { Heartbeat, type LeaderMessage, Reconfigure } from '../core/message.js';
import { required } from './binary.js';
import type { HeartbeatRequest } from './gen/kvs/v1/leader.js';

export function leaderMessageToWire(message: LeaderMessage): HeartbeatRequest {
  if (message.type === 'reconfigure') {
    const { bucket, bucketEpoch, admit, recordsSent, recordsTaken, bytesSent } = message;
    const value = { bucket, bucketEpoch, admit, recordsSent, recordsTaken, bytesSent };
    return { message: { $case: 'reconfigure', value } };
  }
  const { ordinal, incarnation, epoch, records, bytes, primaryRecords, leaving } = message;
  const transfers = message.transfers.map((count) => ({ ...count }));
  return {
    message: {
      $case: 'heartbeat',
      value: {
        ordinal,
        incarnation,
        epoch,
        records,
        bytes,
        primaryRecords,
        transfers,
        leaving,
        unheard: [...message.unheard],
        damaged: [...message.damaged],
        differences: message.differences.map((one) => ({ ...one })),
        census: message.census.map((one) => ({ ...one })),
      },
    },
  };
}

export function leaderMessageFromWire(request: HeartbeatRequest): LeaderMessage {
  const { $case, value } = required(request.message, 'message');
  if ($case === 'reconfigure') {
    const { bucket, bucketEpoch, admit, recordsSent, recordsTaken, bytesSent } = value;
    return new Reconfigure(bucket, bucketEpoch, admit, recordsSent, recordsTaken, bytesSent);
  }
  return new Heartbeat(
    value.ordinal,
    value.incarnation,
    value.epoch,
    value.records,
    value.bytes,
    value.primaryRecords,
    value.transfers,
    value.leaving,
    value.unheard,
    value.damaged,
    value.differences,
    value.census,
  );
}

import {
  type ClientWritableStream,
  connectivityState,
  type sendUnaryData,
  type ServerReadableStream,
  status,
} from '@grpc/grpc-js';

import { type CausalPull, type CausalStamps, isCausal } from '../core/causal-message.js';
import { bytesOf } from '../core/causal-record.js';
import type { Ordinal } from '../core/ids.js';
import type { PeerMessage } from '../core/message.js';
import { WireError } from '../wire/binary.js';
import { peerMessageFromWire, peerMessageToWire } from '../wire/convert-peer.js';
import { PeerServiceClient, type SendRequest, type SendResponse } from '../wire/gen/kvs/v1/peer.js';
import { channelOptions, insecure } from './channel.js';

/** Frames larger than this are split. */
const FRAME_MESSAGES = 512;
const FRAME_BYTES = 4 * 1024 * 1024;
/** What may wait for a peer that does not read; beyond that messages are dropped (and resent). */
const BUFFER_BYTES = 64 * 1024 * 1024;
const RECONNECT_MS = { least: 50, most: 500 } as const;
/** Messages wait so long for a connection; later ones are dropped: the protocol sends again. */
const PATIENCE_MS = 250;
/** An attempt to connect that got no answer for so long is begun anew: its packets were lost. */
const ATTEMPT_MS = 700;

/** Who sends. */
export interface Sender {
  readonly clusterId: string;
  readonly from: Ordinal;
  readonly incarnation: number;
}

/**
 * The sending end of one server's stream to a peer. Messages of one turn of the event loop share a
 * frame. A broken stream loses messages; the protocol resends what matters.
 */
export class PeerLink {
  private client: PeerServiceClient;
  private stream: ClientWritableStream<SendRequest> | null = null;
  private gathered: PeerMessage[] = [];
  private scheduled = false;
  private closed = false;
  private failures = 0;
  /** No stream is opened before this. */
  private retryMs = 0;
  /** Since when there is no connection; null: there is one. */
  private aloneMs: number | null = null;
  private attemptMs = 0;

  constructor(
    readonly address: string,
    private readonly sender: Sender,
    /** 0: whoever listens there. */
    private readonly to: Ordinal,
  ) {
    this.client = this.connect();
  }

  send(message: PeerMessage): void {
    this.gathered.push(message);
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      this.flush();
    });
  }

  close(): void {
    this.flush();
    this.closed = true;
    this.stream?.end();
    this.client.close();
  }

  /** The peer has just reached us: it can be reached, whatever came of the last attempt. */
  retry(): void {
    const channel = this.client.getChannel();
    if (this.closed || channel.getConnectivityState(false) === connectivityState.READY) return;
    this.reconnect();
    this.retryMs = 0;
    this.client.getChannel().getConnectivityState(true);
  }

  private flush(): void {
    const messages = this.gathered;
    this.gathered = [];
    if (messages.length === 0 || this.closed || this.isAlone()) return;
    this.stream ??= this.open();
    if (this.stream === null || this.stream.writableLength > BUFFER_BYTES) return;
    for (let start = 0; start < messages.length;) {
      const end = frameEnd(messages, start);
      const frame = messages.slice(start, end).map(peerMessageToWire);
      this.stream.write({ clusterId: '', from: 0, incarnation: 0, to: 0, messages: frame });
      start = end;
    }
  }

  private connect(): PeerServiceClient {
    this.attemptMs = performance.now();
    return new PeerServiceClient(this.address, insecure(), channelOptions());
  }

  /**
   * The peer cannot be reached, and not only since a moment ago. What it would find in a queue when
   * it is back would be old, and in the way of what is new.
   */
  private isAlone(): boolean {
    const now = performance.now();
    const state = this.client.getChannel().getConnectivityState(true);
    if (state === connectivityState.READY) {
      this.aloneMs = null;
      return false;
    }
    this.aloneMs ??= now;
    if (now - this.aloneMs < PATIENCE_MS) return false;
    this.stream?.cancel();
    this.stream = null;
    if (state === connectivityState.CONNECTING && now - this.attemptMs > ATTEMPT_MS) {
      this.reconnect();
    }
    return true;
  }

  private reconnect(): void {
    this.stream?.cancel();
    this.stream = null;
    this.client.close();
    this.client = this.connect();
  }

  private open(): ClientWritableStream<SendRequest> | null {
    if (performance.now() < this.retryMs) return null;
    const stream = this.client.send((error) => {
      if (this.stream !== stream) return;
      this.stream = null;
      if (error === null) return;
      this.failures += 1;
      const { least, most } = RECONNECT_MS;
      const pause = Math.min(most, least * 2 ** Math.min(this.failures - 1, 8));
      this.retryMs = performance.now() + pause * (0.5 + Math.random() / 2);
    });
    stream.on('error', () => undefined);
    stream.write({ ...this.sender, to: this.to, messages: [] });
    stream.once('drain', () => {
      this.failures = 0;
    });
    return stream;
  }
}

/** What a server does with the messages of its peers. */
export interface PeerSink {
  /** '' until this server belongs to a cluster. */
  readonly clusterId: string;
  /** 0 until it is known. */
  readonly self: Ordinal;
  /** The peer has just connected. */
  readonly greet?: (from: Ordinal) => void;
  receive(from: Ordinal, messages: readonly PeerMessage[]): void;
}

/** The receiving end. A peer of another cluster is refused, and one that means another server. */
export function servePeer(
  call: ServerReadableStream<SendRequest, SendResponse>,
  done: sendUnaryData<SendResponse>,
  sink: PeerSink,
): void {
  let from: Ordinal = 0;
  let open = true;
  const refuse = (code: status, details: string): void => {
    if (!open) return;
    open = false;
    done({ code, details });
  };
  call.on('data', (frame: SendRequest) => {
    if (!open) return;
    if (from === 0) {
      if (frame.clusterId !== sink.clusterId || frame.from === 0) {
        const details = `this server belongs to cluster ${sink.clusterId}, not ${frame.clusterId}`;
        refuse(status.FAILED_PRECONDITION, details);
        return;
      }
      if (frame.to !== 0 && frame.to !== sink.self) {
        const details = `this is server ${sink.self}, not ${frame.to}`;
        refuse(status.FAILED_PRECONDITION, details);
        return;
      }
      ({ from } = frame);
      sink.greet?.(from);
    }
    try {
      sink.receive(from, frame.messages.map(peerMessageFromWire));
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      refuse(status.INVALID_ARGUMENT, error.message);
    }
  });
  call.on('end', () => {
    if (open) done(null, {});
    open = false;
  });
  const close = (): void => {
    open = false;
  };
  call.on('cancelled', close);
  call.on('error', close);
}

function frameEnd(messages: readonly PeerMessage[], start: number): number {
  let end = start;
  let bytes = 0;
  while (end < messages.length && end - start < FRAME_MESSAGES && bytes < FRAME_BYTES) {
    bytes += weight(messages[end]);
    end += 1;
  }
  return end;
}

/** Roughly the bytes of a message. */
function weight(message: PeerMessage | undefined): number {
  if (message?.type === 'prepare') {
    return message.entries.reduce((sum, { value }) => sum + 100 + (value?.length ?? 0), 50);
  }
  if (message !== undefined && isCausal(message)) {
    const {
      records = [],
      stamps = [],
      wanted = [],
      gone = [],
    } = message as Partial<CausalStamps & CausalPull>;
    const named = 50 * (stamps.length + wanted.length + gone.length);
    return records.reduce((sum, record) => sum + bytesOf(record), 100 + named);
  }
  if (message?.type === 'snapshotChunk') {
    return message.records.reduce((sum, { value }) => sum + 100 + value.length, 50);
  }
  return 100;
}

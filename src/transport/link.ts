import { Buffer } from 'node:buffer';

import {
  Client,
  type ClientWritableStream,
  connectivityState,
  type sendUnaryData,
  type ServerReadableStream,
  type ServiceError,
  status,
} from '@grpc/grpc-js';

import { type CausalPull, type CausalStamps, isCausal } from '../core/causal-message.js';
import { bytesOf } from '../core/causal-record.js';
import { entryBytes } from '../core/entry.js';
import type { Ordinal } from '../core/ids.js';
import type { PeerMessage } from '../core/message.js';
import { sizeOf } from '../core/operation.js';
import { WireError } from '../wire/binary.js';
import { SendRequest, type SendResponse } from '../wire/gen/kvs/v1/peer.js';
import { HotWriter } from '../wire/hot-writer.js';
import { readPeerRequest, type RequestHead, writePeerMessage } from '../wire/peer-frame.js';
import { channelOptions, insecure } from './channel.js';
import { STREAM_LIMITS } from './limits.js';
import { SEND } from './methods.js';
import { Outflow } from './outflow.js';

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
 * The sending end of one server's stream to a peer. Messages share a frame until `flush`, or for
 * a turn of the event loop. A broken stream loses messages; the protocol resends what matters.
 */
export class PeerLink {
  private client: Client;
  private stream: ClientWritableStream<Buffer> | null = null;
  private outflow: Outflow | null = null;
  private readonly out = new HotWriter();
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
    // For a sender that does not flush by itself: after one that does at the end of the turn.
    setImmediate(() => {
      setImmediate(() => {
        this.scheduled = false;
        this.flush();
      });
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

  /** What was gathered leaves now, unless enough is on its way already. */
  flush(): void {
    if (this.gathered.length === 0) return;
    if (this.closed || this.isAlone() || (this.stream ?? this.open()) === null) {
      this.gathered = [];
      return;
    }
    const { outflow, gathered } = this;
    if (outflow === null) return;
    let start = 0;
    while (start < gathered.length && outflow.room) {
      start = this.writeFrame(outflow, start);
    }
    this.gathered = start === gathered.length ? [] : gathered.slice(start);
    if (this.gathered.length > 0 && this.isTooMuch()) this.gathered = [];
  }

  /** Writes a frame of the messages from `start` on; where the next one begins. */
  private writeFrame(outflow: Outflow, start: number): number {
    const { gathered, out } = this;
    const end = Math.min(gathered.length, start + STREAM_LIMITS.frameCount);
    let at = start;
    for (; at < end && out.at < STREAM_LIMITS.frameBytes; at += 1) {
      writePeerMessage(out, gathered[at]!);
    }
    outflow.write(out.take());
    return at;
  }

  /** More than may wait for a peer that does not read: dropped, and sent again if it matters. */
  private isTooMuch(): boolean {
    let bytes = 0;
    for (const message of this.gathered) bytes += weight(message);
    return bytes > STREAM_LIMITS.waitingBytes;
  }

  private connect(): Client {
    this.attemptMs = performance.now();
    return new Client(this.address, insecure(), channelOptions());
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
    this.drop();
    if (state === connectivityState.CONNECTING && now - this.attemptMs > ATTEMPT_MS) {
      this.reconnect();
    }
    return true;
  }

  private drop(): void {
    this.stream?.cancel();
    this.stream = null;
    this.outflow = null;
  }

  private reconnect(): void {
    this.drop();
    this.client.close();
    this.client = this.connect();
  }

  private open(): ClientWritableStream<Buffer> | null {
    if (performance.now() < this.retryMs) return null;
    const { path, requestSerialize, responseDeserialize } = SEND;
    const ended = (error: ServiceError | null): void => {
      if (this.stream !== stream) return;
      this.stream = null;
      this.outflow = null;
      if (error === null) return;
      this.failures += 1;
      const { least, most } = RECONNECT_MS;
      const pause = Math.min(most, least * 2 ** Math.min(this.failures - 1, 8));
      this.retryMs = performance.now() + pause * (0.5 + Math.random() / 2);
    };
    const stream = this.client.makeClientStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      ended,
    );
    stream.on('error', () => undefined);
    const head = { ...this.sender, to: this.to, messages: [] };
    stream.write(
      Buffer.from(SendRequest.encode(SendRequest.fromPartial(head)).finish()),
      (error?: unknown) => {
        if (this.stream === stream && !error) this.failures = 0;
      },
    );
    this.stream = stream;
    this.outflow = new Outflow(stream, () => {
      if (this.stream === stream) this.flush();
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
  call: ServerReadableStream<Buffer, SendResponse>,
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
  const accept = (head: RequestHead | null): boolean => {
    const { clusterId = '', to = 0 } = head ?? {};
    if (clusterId !== sink.clusterId || head === null || head.from === 0) {
      const details = `this server belongs to cluster ${sink.clusterId}, not ${clusterId}`;
      refuse(status.FAILED_PRECONDITION, details);
      return false;
    }
    if (to !== 0 && to !== sink.self) {
      refuse(status.FAILED_PRECONDITION, `this is server ${sink.self}, not ${to}`);
      return false;
    }
    ({ from } = head);
    sink.greet?.(from);
    return true;
  };
  call.on('data', (frame: Buffer) => {
    if (!open) return;
    try {
      const { head, messages } = readPeerRequest(frame);
      if (from === 0 && !accept(head)) return;
      sink.receive(from, messages);
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

/** Roughly the bytes of a message. */
function weight(message: PeerMessage): number {
  if (message.type === 'prepare') {
    return message.entries.reduce((sum, entry) => sum + 100 + entryBytes(entry), 50);
  }
  if (message.type === 'voteRequest') return 100 + sizeOf(message.writes);
  if (isCausal(message)) {
    const {
      records = [],
      stamps = [],
      wanted = [],
      gone = [],
    } = message as Partial<CausalStamps & CausalPull>;
    const named = 50 * (stamps.length + wanted.length + gone.length);
    return records.reduce((sum, record) => sum + bytesOf(record), 100 + named);
  }
  if (message.type === 'snapshotChunk') {
    return message.records.reduce((sum, { value }) => sum + 100 + value.length, 50);
  }
  return 100;
}

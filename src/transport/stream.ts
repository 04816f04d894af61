import type { Buffer } from 'node:buffer';

import {
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  type ServerDuplexStream,
  type ServiceError,
  status,
} from '@grpc/grpc-js';

import type { Epoch } from '../core/ids.js';
import { isRead, type Operation, type Result } from '../core/operation.js';
import { WireError } from '../wire/binary.js';
import {
  beginRequest,
  readRequest,
  readResponse,
  writeOperation,
  writeResult,
} from '../wire/frame.js';
import { HotWriter } from '../wire/hot-writer.js';
import { insecure, whenConnected } from './channel.js';
import { STREAM_LIMITS } from './limits.js';
import { EXCHANGE } from './methods.js';
import { Outflow } from './outflow.js';

/** The link broke before the answer came. `sent` false: the operation never left this process. */
export interface LinkBroken {
  readonly sent: boolean;
  readonly why: string;
}

/** An operation for a `FrameClient`, and who hears what became of it; told once. */
export interface Asker {
  readonly operation: Operation;
  /** These two as this attempt has them. */
  readonly bucketEpoch: Epoch;
  readonly timeoutMs: number;
  onResult(result: Result): void;
  onBroken(broken: LinkBroken): void;
}

/** Writes wait so long for company, at most. */
const HOLD_MS = 2;
/** With fewer unanswered there is little company to wait for. */
const HOLD_FROM = 8;

/**
 * The sending end of `KeyValueService.Exchange` to one server: operations of one turn of the event
 * loop share a frame. Writes are answered a few at a time, and those that follow would leave in as
 * many small frames: they wait until they are as many as are unanswered (Nagle, RFC 896, with
 * operations for bytes). No promise per operation.
 */
export class FrameClient {
  private readonly client: Client;
  private stream: ClientDuplexStream<Buffer, Buffer> | null = null;
  private outflow: Outflow | null = null;
  private readonly out = new HotWriter();
  private readonly waiting = new Map<number, Asker>();
  private queue: Asker[] = [];
  private nextId = 1;
  private scheduled = false;
  /**
   * What is queued waits for nothing any more: a read is among it, which is answered in the pass of
   * its frame, or its time is over.
   */
  private urgent = false;
  private holding: NodeJS.Timeout | null = null;
  private connecting = false;
  private closed = false;

  constructor(
    private readonly address: string,
    options: ChannelOptions,
    private readonly holdMs = HOLD_MS,
  ) {
    this.client = new Client(address, insecure(), options);
  }

  submit(asker: Asker): void {
    this.queue.push(asker);
    if (isRead(asker.operation.kind)) this.urgent = true;
    this.schedule();
  }

  close(): void {
    this.closed = true;
    this.release();
    this.stream?.cancel();
    this.breakAll('the link was closed');
    this.client.close();
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      this.flush();
    });
  }

  private flush(): void {
    const { outflow } = this;
    if (outflow === null) {
      this.connect();
      return;
    }
    if (this.isHeld()) return;
    this.release();
    this.send(outflow);
  }

  private send(outflow: Outflow): void {
    const { outstanding } = STREAM_LIMITS;
    while (this.queue.length > 0 && outflow.room && this.waiting.size < outstanding) {
      outflow.write(this.takeFrame());
    }
    if (this.queue.length === 0) this.urgent = false;
  }

  /** Fewer writes than are unanswered wait for more, or until their time is over. */
  private isHeld(): boolean {
    const { queue, waiting } = this;
    if (this.urgent || waiting.size < HOLD_FROM || queue.length >= waiting.size) return false;
    if (queue.length === 0) return false;
    this.holding ??= setTimeout(() => {
      this.holding = null;
      this.urgent = true;
      this.flush();
    }, this.holdMs);
    return true;
  }

  private release(): void {
    if (this.holding !== null) clearTimeout(this.holding);
    this.holding = null;
  }

  /** Nothing is written before the connection is there: what cannot leave has had no effect. */
  private connect(): void {
    if (this.connecting || this.closed || this.queue.length === 0) return;
    this.connecting = true;
    whenConnected(this.client, (connected) => {
      this.connecting = false;
      if (this.closed) return;
      if (connected) {
        this.open();
        this.flush();
      } else this.breakAll(`no connection to ${this.address}`);
    });
  }

  /** The longest run of queued operations of one client that fits into a frame. */
  private takeFrame(): Buffer {
    const { queue, out } = this;
    const client = queue[0]?.operation.client ?? '';
    let count = 0;
    let settledBelow = 0;
    const most = Math.min(queue.length, STREAM_LIMITS.frameCount);
    for (; count < most; count += 1) {
      const operation = queue[count]?.operation;
      if (operation?.client !== client) break;
      if (operation.settledBelow > settledBelow) ({ settledBelow } = operation);
    }
    beginRequest(out, client, settledBelow);
    let taken = 0;
    for (; taken < count && out.at < STREAM_LIMITS.frameBytes; taken += 1) {
      const asker = queue[taken]!;
      const id = this.nextId++;
      this.waiting.set(id, asker);
      writeOperation(out, asker.operation, id, asker.bucketEpoch, asker.timeoutMs);
    }
    this.queue = taken === queue.length ? [] : queue.slice(taken);
    return out.take();
  }

  private open(): void {
    const { path, requestSerialize, responseDeserialize } = EXCHANGE;
    const stream = this.client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
    this.stream = stream;
    this.outflow = new Outflow(stream, () => {
      if (this.stream === stream && this.queue.length > 0) this.flush();
    });
    const take = (result: Result, id: number): void => {
      const asker = this.waiting.get(id);
      this.waiting.delete(id);
      asker?.onResult(result);
    };
    const broken = (why: string): void => {
      if (this.stream !== stream) return;
      this.stream = null;
      this.outflow = null;
      this.breakAll(why);
    };
    stream.on('data', (frame: Buffer) => {
      try {
        readResponse(frame, take);
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
        stream.cancel();
        broken(error.message);
      }
      if (this.queue.length > 0) this.schedule();
    });
    stream.on('error', (error: ServiceError) => broken(error.details));
    stream.on('end', () => broken('the server closed the stream'));
  }

  private breakAll(why: string): void {
    const sent = Array.from(this.waiting.values());
    const unsent = this.queue;
    this.waiting.clear();
    this.queue = [];
    for (const asker of sent) asker.onBroken({ sent: true, why });
    for (const asker of unsent) asker.onBroken({ sent: false, why });
  }
}

/** Takes the answers to operations, under the ids that they were submitted with. */
export interface Answers {
  answer(id: number, result: Result): void;
}

/** What a server does with the operations of a frame: each is answered once, maybe at once. */
export interface OperationSink {
  submit(operations: readonly Operation[], ids: readonly number[], answers: Answers): void;
}

/**
 * The receiving end: a frame is handed on in one pass, and the answers of one turn of the event
 * loop share a frame. Of a client that does not read nothing more is read, and what it has asked
 * already may fill its budget; beyond that it is cut off.
 */
export class ExchangeServer implements Answers {
  private open = true;
  private outstanding = 0;
  private scheduled = false;
  private readonly out = new HotWriter();
  /** Frames that take nothing more and wait for room, and their bytes. */
  private frames: Buffer[] = [];
  private framesBytes = 0;
  private readonly outflow: Outflow;

  constructor(
    private readonly call: ServerDuplexStream<Buffer, Buffer>,
    private readonly sink: OperationSink,
  ) {
    this.outflow = new Outflow(call, () => this.flush());
    call.on('data', (frame: Buffer) => this.onFrame(frame));
    call.on('end', () => {
      this.flushAll();
      this.open = false;
      call.end();
    });
    const close = (): void => {
      this.open = false;
    };
    call.on('cancelled', close);
    call.on('error', close);
  }

  answer(id: number, result: Result): void {
    this.outstanding -= 1;
    if (!this.open) return;
    writeResult(this.out, result, id);
    if (this.out.at >= STREAM_LIMITS.frameBytes) {
      const frame = this.out.take();
      this.frames.push(frame);
      this.framesBytes += frame.length;
    }
    if (!this.scheduled) {
      this.scheduled = true;
      setImmediate(() => {
        this.scheduled = false;
        this.flush();
      });
    }
    if (this.unread > STREAM_LIMITS.waitingBytes) {
      this.cut(status.RESOURCE_EXHAUSTED, 'the answers on this stream are not read');
    }
  }

  private onFrame(frame: Buffer): void {
    if (!this.open) return;
    const operations: Operation[] = [];
    const ids: number[] = [];
    try {
      readRequest(frame, (operation, id) => {
        operations.push(operation);
        ids.push(id);
      });
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.cut(status.INVALID_ARGUMENT, error.message);
      return;
    }
    this.outstanding += operations.length;
    this.sink.submit(operations, ids, this);
    if (this.isFull()) this.call.pause();
  }

  private flush(): void {
    while (this.open && this.outflow.room && this.framesBytes + this.out.at > 0) {
      this.outflow.write(this.nextFrame());
    }
    this.resume();
  }

  private nextFrame(): Buffer {
    const frame = this.frames.shift() ?? this.out.take();
    this.framesBytes = this.frames.length === 0 ? 0 : this.framesBytes - frame.length;
    return frame;
  }

  /** What there is to say leaves at once, however much is on its way. */
  private flushAll(): void {
    while (this.open && this.framesBytes + this.out.at > 0) this.call.write(this.nextFrame());
  }

  private resume(): void {
    if (this.call.isPaused() && !this.isFull()) this.call.resume();
  }

  private get unread(): number {
    return this.framesBytes + this.out.at + this.outflow.bytes;
  }

  private isFull(): boolean {
    const { outstanding, pausedBytes } = STREAM_LIMITS;
    return this.outstanding >= outstanding || this.unread > pausedBytes;
  }

  private cut(code: status, details: string): void {
    if (!this.open) return;
    this.open = false;
    this.frames = [];
    this.call.emit('error', { code, details });
  }
}

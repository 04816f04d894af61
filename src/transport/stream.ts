import {
  type ClientDuplexStream,
  type ServerDuplexStream,
  type ServiceError,
  status,
} from '@grpc/grpc-js';

import type { ClientId } from '../core/ids.js';
import type { Operation, Result } from '../core/operation.js';
import { fromBinary, toBinary, WireError } from '../wire/binary.js';
import {
  operationFromWire,
  operationToWire,
  resultFromWire,
  resultToWire,
} from '../wire/convert-operation.js';
import {
  type ExchangeRequest,
  type ExchangeResponse,
  KeyValueServiceClient,
  type OperationResult,
} from '../wire/gen/kvs/v1/kv.js';
import { channelOptions, insecure, whenConnected } from './channel.js';

/** Operations one stream may have unanswered; more wait in the sender (U3). */
const OUTSTANDING = 16_384;
/** Operations and bytes of one frame. */
const FRAME_OPERATIONS = 1024;
const FRAME_BYTES = 1024 * 1024;
/** Answers a client leaves unread before it is cut off, in bytes. */
const UNREAD_BYTES = 64 * 1024 * 1024;

/** The link broke before the answer came. `sent` false: the operation never left this process. */
export interface LinkBroken {
  readonly sent: boolean;
  readonly why: string;
}

type Done = (answer: Result | LinkBroken) => void;

interface Queued {
  readonly operation: Operation;
  readonly done: Done;
}

/**
 * The sending end of `KeyValueService.Exchange` to one server: operations of one turn of the event
 * loop share a frame. No promise per operation.
 */
export class FrameClient {
  private readonly client: KeyValueServiceClient;
  private stream: ClientDuplexStream<ExchangeRequest, ExchangeResponse> | null = null;
  private readonly waiting = new Map<number, Done>();
  private queue: Queued[] = [];
  private nextId = 1;
  private scheduled = false;
  private blocked = false;
  private connecting = false;
  private closed = false;

  constructor(private readonly address: string) {
    this.client = new KeyValueServiceClient(address, insecure(), channelOptions());
  }

  submit(operation: Operation, done: Done): void {
    this.queue.push({ operation, done });
    this.schedule();
  }

  close(): void {
    this.closed = true;
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
    if (this.stream === null) {
      this.connect();
      return;
    }
    while (this.queue.length > 0 && !this.blocked && this.waiting.size < OUTSTANDING) {
      const frame = this.takeFrame();
      this.blocked = !this.stream.write(frame);
    }
  }

  /** Nothing is written before the connection is there: what cannot leave has had no effect. */
  private connect(): void {
    if (this.connecting || this.closed || this.queue.length === 0) return;
    this.connecting = true;
    whenConnected(this.client, (connected) => {
      this.connecting = false;
      if (this.closed) return;
      if (connected) {
        this.stream = this.open();
        this.flush();
      } else this.breakAll(`no connection to ${this.address}`);
    });
  }

  /** The longest run of queued operations of one client that fits into a frame. */
  private takeFrame(): ExchangeRequest {
    const client = this.queue[0]?.operation.client ?? '';
    const operations = [];
    let settledBelow = 0;
    let bytes = 0;
    for (const { operation, done } of this.queue) {
      if (operation.client !== client || operations.length >= FRAME_OPERATIONS) break;
      if (bytes > FRAME_BYTES) break;
      const id = this.nextId++;
      this.waiting.set(id, done);
      operations.push(operationToWire(operation, id));
      settledBelow = Math.max(settledBelow, operation.settledBelow);
      bytes += size(operation);
    }
    this.queue = this.queue.slice(operations.length);
    return { client: fromBinary(client), settledBelow, operations };
  }

  private open(): ClientDuplexStream<ExchangeRequest, ExchangeResponse> {
    const stream = this.client.exchange();
    stream.on('data', ({ results }: ExchangeResponse) => {
      for (const result of results) this.onResult(result);
      if (this.queue.length > 0) this.schedule();
    });
    stream.on('drain', () => {
      this.blocked = false;
      this.flush();
    });
    const broken = (why: string): void => {
      if (this.stream !== stream) return;
      this.stream = null;
      this.blocked = false;
      this.breakAll(why);
    };
    stream.on('error', (error: ServiceError) => broken(error.details));
    stream.on('end', () => broken('the server closed the stream'));
    return stream;
  }

  private onResult(wire: OperationResult): void {
    const done = this.waiting.get(wire.id);
    if (done === undefined) return;
    this.waiting.delete(wire.id);
    try {
      done(resultFromWire(wire));
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      done({ sent: true, why: error.message });
    }
  }

  private breakAll(why: string): void {
    const sent = Array.from(this.waiting.values());
    const unsent = this.queue;
    this.waiting.clear();
    this.queue = [];
    for (const done of sent) done({ sent: true, why });
    for (const { done } of unsent) done({ sent: false, why });
  }
}

/** What a server does with the operations of a stream. `answer` is called once for each. */
export interface OperationSink {
  submit(operation: Operation, answer: (result: Result) => void): void;
}

/**
 * The receiving end: a frame is handed on in one pass, and the answers of one turn of the event
 * loop share a frame. A client that does not read is cut off at its budget.
 */
export function serveExchange(
  call: ServerDuplexStream<ExchangeRequest, ExchangeResponse>,
  sink: OperationSink,
): void {
  let open = true;
  let outstanding = 0;
  let results: OperationResult[] = [];
  const cut = (code: status, details: string): void => {
    if (!open) return;
    open = false;
    call.emit('error', { code, details });
  };
  const flush = (): void => {
    const frame = results;
    results = [];
    if (!open || frame.length === 0) return;
    call.write({ results: frame });
    if (call.writableLength > UNREAD_BYTES) {
      cut(status.RESOURCE_EXHAUSTED, 'the answers on this stream are not read');
    }
  };
  const answer = (id: number, result: Result): void => {
    outstanding -= 1;
    if (results.length === 0) setImmediate(flush);
    results.push(resultToWire(result, id));
    if (call.isPaused() && outstanding < OUTSTANDING) call.resume();
  };
  call.on('data', (frame: ExchangeRequest) => {
    if (!open) return;
    try {
      const client: ClientId = toBinary(frame.client);
      for (const operation of frame.operations) {
        const { id } = operation;
        const asked = operationFromWire(operation, client, frame.settledBelow);
        outstanding += 1;
        sink.submit(asked, (result) => answer(id, result));
      }
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      cut(status.INVALID_ARGUMENT, error.message);
    }
    if (outstanding >= OUTSTANDING) call.pause();
  });
  const close = (): void => {
    open = false;
  };
  call.on('end', () => {
    flush();
    close();
    call.end();
  });
  call.on('cancelled', close);
  call.on('error', close);
}

function size(operation: Operation): number {
  let bytes = operation.key.length + (operation.value?.length ?? 0);
  for (const { key, value } of operation.writes ?? []) bytes += key.length + (value?.length ?? 0);
  return bytes;
}

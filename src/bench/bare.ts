import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

import { type BucketMeta, type PeerMessage, SnapshotAck, SnapshotChunk } from '../core/message.js';
import { sizeOf, type StoredRecord } from '../core/operation.js';
import { DEFAULT_ENGINE_SETTINGS, Engine } from '../storage/engine.js';
import { PeerLink, type PeerSink, servePeer } from '../transport/link.js';
import { PEER_METHODS, type PeerHandlers } from '../transport/methods.js';
import { Listener } from '../transport/server.js';

const CLUSTER = 'bare';
const BUCKETS = 256;
const CHUNK_BYTES = 64 * 1024;
/** As many as three servers that send have on their way. */
const IN_FLIGHT = 12;
const KEY_BYTES = 16;
const NOTHING: BucketMeta = {
  sequence: 1,
  ballot: 1,
  version: 1,
  clockMs: 0,
  life: 0,
  dedup: [],
  intents: [],
  decisions: [],
  causal: null,
};

/**
 * The same bytes through the same gRPC stream into the same engine, and nothing else: what a
 * transfer between servers could reach at best. Bytes a second.
 */
export async function measureBare(records: number, valueBytes: number): Promise<number> {
  const worker = new Worker(new URL(import.meta.url), { workerData: CLUSTER });
  const address = await new Promise<string>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  const sender = new Bare((message) => link.send(message), chunksOf(records, valueBytes));
  const back = new Listener([]);
  const service: PeerHandlers = { send: (call, done) => servePeer(call, done, sender) };
  back.server.addService(PEER_METHODS, service);
  const link = new PeerLink(address, { clusterId: CLUSTER, from: 1, incarnation: 1 }, 0);
  try {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- no window
    worker.postMessage(await back.listen('127.0.0.1:0'));
    const beganMs = performance.now();
    const bytes = await sender.run();
    return bytes / ((performance.now() - beganMs) / 1000);
  } finally {
    link.close();
    await worker.terminate();
    await back.stop(0);
  }
}

function* chunksOf(records: number, valueBytes: number): Generator<SnapshotChunk> {
  const value = Buffer.alloc(valueBytes, '.');
  const perBucket = Math.ceil(records / BUCKETS);
  const perChunk = Math.max(1, Math.floor(CHUNK_BYTES / (KEY_BYTES + valueBytes)));
  for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
    for (let from = 0, index = 0; from < perBucket; from += perChunk, index += 1) {
      const count = Math.min(perChunk, perBucket - from);
      const part = Array.from({ length: count }, (_, at): StoredRecord => {
        return {
          key: `record/${String(bucket * perBucket + from + at).padStart(9, '0')}`,
          value,
          version: 1,
        };
      });
      const last = from + count >= perBucket;
      const meta = index === 0 ? NOTHING : null;
      yield new SnapshotChunk(bucket, 1, 1, index, last, part, meta, from + count);
    }
  }
}

/** Sends chunks, so many at a time, until all are acknowledged. */
class Bare implements PeerSink {
  readonly clusterId = CLUSTER;
  readonly self = 1;
  private open = 0;
  private bytes = 0;
  private finish: () => void = () => undefined;

  constructor(
    private readonly send: (message: PeerMessage) => void,
    private readonly chunks: Iterator<SnapshotChunk>,
  ) {}

  async run(): Promise<number> {
    const finished = new Promise<void>((resolve) => {
      this.finish = resolve;
    });
    for (let begun = 0; begun < IN_FLIGHT; begun += 1) this.more();
    await finished;
    return this.bytes;
  }

  receive(_from: number, messages: readonly PeerMessage[]): void {
    this.open -= messages.length;
    for (let acknowledged = 0; acknowledged < messages.length; acknowledged += 1) this.more();
    if (this.open === 0) this.finish();
  }

  private more(): void {
    const next = this.chunks.next();
    if (next.done === true) return;
    this.open += 1;
    this.bytes += sizeOf(next.value.records);
    this.send(next.value);
  }
}

function raise(error: Error): never {
  throw error;
}

/** The receiving end, in a thread of its own. */
async function receive(clusterId: string): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'kvs-bare-'));
  const engine = await Engine.open(join(directory, 'engine'), DEFAULT_ENGINE_SETTINGS, {
    onFatal: raise,
  });
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  const listener = new Listener([]);
  let link: PeerLink | null = null;
  const take = async (chunk: SnapshotChunk): Promise<void> => {
    await engine.ingest(chunk.bucket, chunk.records, chunk.index === 0);
    const { bucket, ballot, transfer, index } = chunk;
    link?.send(new SnapshotAck(bucket, ballot, transfer, index, 0));
  };
  const sink: PeerSink = {
    clusterId,
    self: 2,
    receive: (_from, messages) => {
      for (const message of messages) if (message.type === 'snapshotChunk') void take(message);
    },
  };
  const service: PeerHandlers = { send: (call, done) => servePeer(call, done, sink) };
  listener.server.addService(PEER_METHODS, service);
  parentPort?.once('message', (back: string) => {
    link = new PeerLink(back, { clusterId, from: 2, incarnation: 1 }, 0);
  });
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- no window
  parentPort?.postMessage(await listener.listen('127.0.0.1:0'));
}

if (!isMainThread) await receive(workerData as string);

// A process to be killed: appends one epoch after the other, and prints each once it is durable.
import process from 'node:process';

const { LocalViewStore } = await import(new URL('../../dist/viewstore/local.js', import.meta.url));
const store = await LocalViewStore.open(process.argv[2]);
let view = (await store.load()) ?? {
  clusterId: 'cluster',
  epoch: 0,
  parameters: { bucketCount: 64 },
  members: new Map(),
  rows: Array.from({ length: 64 }, () => ({ epoch: 0, replicas: [1], target: [1], floor: 1 })),
  namespaces: new Map(),
  reason: '',
  atMs: 0,
};
for (;;) {
  const epoch = view.epoch + 1;
  const rows = new Map(view.rows.map((row, bucket) => [bucket, { ...row, epoch }]));
  const delta = { members: [], rows, fromEpoch: epoch - 1, toEpoch: epoch };
  view = { ...view, epoch, rows: Array.from(rows.values()) };
  await store.append(delta, view);
  process.stdout.write(`${epoch}\n`);
}

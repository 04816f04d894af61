// Any gRPC or HTTP tool can look inside every daemon.
import { fileURLToPath } from 'node:url';

import { type ChannelCredentials, credentials, loadPackageDefinition } from '@grpc/grpc-js';
import { load } from '@grpc/proto-loader';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { fromBinary } from '@bufbuild/protobuf';
import { expect, jest, test } from '@jest/globals';

import {
  HealthCheckResponse_ServingStatus as Serving,
  HealthClient,
} from '../../src/wire/gen/grpc/health/v1/health.js';
import {
  ServerReflectionClient,
  type ServerReflectionRequest,
  type ServerReflectionResponse,
} from '../../src/wire/gen/grpc/reflection/v1/reflection.js';
import { startCluster } from './support.js';

jest.setTimeout(120_000);

const PROTO = fileURLToPath(new URL('../../proto/', import.meta.url));

type Unary = (
  request: object,
  done: (error: Error | null, response: Record<string, unknown>) => void,
) => void;

interface Loaded {
  readonly kvs: {
    readonly v1: {
      readonly KeyValueService: new (
        address: string,
        credentials: ChannelCredentials,
      ) => { readonly get: Unary; readonly set: Unary; close(): void };
    };
  };
}

const plain: ChannelCredentials = credentials.createInsecure();

function health(address: string, service: string): Promise<Serving | string> {
  const client = new HealthClient(address, plain);
  return new Promise((resolve) => {
    client.check({ service }, (error, response) => {
      client.close();
      resolve(error === null ? response.status : error.details);
    });
  });
}

type Ask = NonNullable<ServerReflectionRequest['messageRequest']>;

function reflect(address: string, ask: Ask): Promise<ServerReflectionResponse['messageResponse']> {
  const client = new ServerReflectionClient(address, plain);
  return new Promise((resolve, reject) => {
    const stream = client.serverReflectionInfo();
    stream.on('data', ({ messageResponse }: ServerReflectionResponse) => {
      stream.end();
      resolve(messageResponse);
    });
    stream.on('error', reject);
    stream.on('end', () => client.close());
    stream.write({ host: '', messageRequest: ask });
  });
}

test('a client that reads proto/ at run time needs nothing else from here', async () => {
  const cluster = await startCluster(2);
  const definition = await load('kvs/v1/kv.proto', { includeDirs: [PROTO], longs: Number });
  const { kvs } = loadPackageDefinition(definition) as unknown as Loaded;
  const client = new kvs.v1.KeyValueService(cluster.servers[0]?.listen ?? '', plain);
  const call = (method: 'get' | 'set', request: object): Promise<Record<string, unknown>> =>
    new Promise((resolve, reject) => {
      client[method](request, (error, response) => (error ? reject(error) : resolve(response)));
    });
  try {
    const set = await call('set', { key: Buffer.from('k'), value: Buffer.from('v') });
    const get = await call('get', { key: Buffer.from('k') });
    expect(get).toMatchObject({ found: true, version: set['version'] });
    expect(String(get['value'])).toBe('v');
  } finally {
    client.close();
  }
});

test('every daemon answers health, reflection, /livez, /readyz and /metrics', async () => {
  const cluster = await startCluster(2);
  for (const daemon of cluster.daemons) {
    const own = daemon === cluster.leader ? 'kvs.v1.LeaderService' : 'kvs.v1.KeyValueService';
    for (const service of ['', own]) {
      expect(await health(daemon.listen, service)).toBe(Serving.SERVING);
    }
    expect(await health(daemon.listen, 'no.such.Service')).toMatch(/no service no\.such/);

    const listed = await reflect(daemon.listen, { $case: 'listServices', value: '' });
    const names = listed?.$case === 'listServicesResponse' ? listed.value.service : [];
    expect(names.map(({ name }) => name)).toEqual(
      expect.arrayContaining([own, 'grpc.health.v1.Health']),
    );
    const file = await reflect(daemon.listen, { $case: 'fileContainingSymbol', value: own });
    const files = file?.$case === 'fileDescriptorResponse' ? file.value.fileDescriptorProto : [];
    const described = files.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
    const services = described.flatMap(({ service }) => service.map(({ name }) => name));
    expect(services).toContain(own.split('.').at(-1));
    const unknown = await reflect(daemon.listen, { $case: 'fileByFilename', value: 'no.proto' });
    expect(unknown?.$case).toBe('errorResponse');

    const http = `http://${daemon.ports?.http}`;
    expect((await fetch(`${http}/livez`)).status).toBe(200);
    expect((await fetch(`${http}/readyz`)).status).toBe(200);
    expect(await (await fetch(`${http}/metrics`)).text()).toMatch(/^kvs_epoch \d+$/m);
    expect((await fetch(`${http}/nothing`)).status).toBe(404);
  }
});

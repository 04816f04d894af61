// Any gRPC or HTTP tool can look inside every daemon.
import { type ChannelCredentials, credentials } from '@grpc/grpc-js';
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

import { createFileRegistry, type FileRegistry, fromBinary, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { type Server, type ServerDuplexStream, status } from '@grpc/grpc-js';

import { fileDescriptorSetBase64 } from '../wire/gen/descriptors.js';
import {
  type ServerReflectionRequest as Request,
  type ServerReflectionResponse as Response,
  ServerReflectionService,
} from '../wire/gen/grpc/reflection/v1/reflection.js';

type Answer = NonNullable<Response['messageResponse']>;

const V1_ALPHA = '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo';

/** Server reflection (v1 and v1alpha) from the descriptors that the code was generated from. */
export function addReflection(server: Server, services: readonly string[]): void {
  const set = fromBinary(FileDescriptorSetSchema, Buffer.from(fileDescriptorSetBase64, 'base64'));
  const registry = createFileRegistry(set);
  const handler = (call: ServerDuplexStream<Request, Response>): void => {
    call.on('data', (request: Request) => {
      call.write({
        validHost: request.host,
        originalRequest: request,
        messageResponse: answer(request, registry, services),
      });
    });
    call.on('end', () => call.end());
    call.on('error', () => undefined);
  };
  const { serverReflectionInfo } = ServerReflectionService;
  server.addService(ServerReflectionService, { serverReflectionInfo: handler });
  const alpha = { serverReflectionInfo: { ...serverReflectionInfo, path: V1_ALPHA } };
  server.addService(alpha, { serverReflectionInfo: handler });
}

function answer(request: Request, registry: FileRegistry, services: readonly string[]): Answer {
  const ask = request.messageRequest;
  switch (ask?.$case) {
    case 'listServices':
      return {
        $case: 'listServicesResponse',
        value: { service: services.map((name) => ({ name })) },
      };
    case 'fileByFilename':
      return fileAnswer(registry, ask.value.replace(/\.proto$/, ''), ask.value);
    case 'fileContainingSymbol':
      return fileAnswer(registry, fileOf(registry, ask.value), ask.value);
    default:
      return failure(status.UNIMPLEMENTED, 'only files and services can be asked for');
  }
}

/** Name, without ending, of the file that declares a message, enum, service or method. */
function fileOf(registry: FileRegistry, symbol: string): string | undefined {
  const found = registry.get(symbol) ?? registry.get(symbol.replace(/[./][^./]+$/, ''));
  return found?.file.name;
}

/** The file and everything it imports: some clients ask only once. */
function fileAnswer(registry: FileRegistry, name: string | undefined, asked: string): Answer {
  const files = new Map<string, Uint8Array>();
  const add = (file: string): void => {
    const found = registry.getFile(`${file}.proto`);
    if (found === undefined || files.has(file)) return;
    files.set(file, toBinary(FileDescriptorProtoSchema, found.proto));
    for (const { name: dependency } of found.dependencies) add(dependency);
  };
  if (name !== undefined) add(name);
  if (files.size === 0) return failure(status.NOT_FOUND, `${asked} is not known here`);
  const fileDescriptorProto = Array.from(files.values(), (bytes) => Buffer.from(bytes));
  return { $case: 'fileDescriptorResponse', value: { fileDescriptorProto } };
}

function failure(errorCode: number, errorMessage: string): Answer {
  return { $case: 'errorResponse', value: { errorCode, errorMessage } };
}

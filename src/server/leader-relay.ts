import {
  type Metadata,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
  type ServiceError,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';

import { preconditionError, unavailableError } from '../transport/status.js';
import { type LeaderServiceClient, LeaderServiceService } from '../wire/gen/kvs/v1/leader.js';

/** Between a server and the view leader itself: nobody else has business with them. */
const DIRECT: ReadonlySet<string> = new Set(['register', 'heartbeat', 'watchView']);

/**
 * The view leader's service, as any server offers it: it hands the call on, and the answer back. So
 * whoever reaches one server can ask for a view change, or how one goes.
 */
export function leaderRelay(
  leader: () => LeaderServiceClient | null,
): UntypedServiceImplementation {
  const relay: UntypedServiceImplementation = {};
  for (const [name, method] of Object.entries(LeaderServiceService)) {
    if (method.requestStream || method.responseStream) {
      relay[name] = (call: ServerDuplexStream<unknown, unknown>) => call.emit('error', notLeader());
      continue;
    }
    relay[name] = (call: ServerUnaryCall<unknown, unknown>, done: sendUnaryData<unknown>) => {
      const client = leader();
      if (DIRECT.has(name)) done(notLeader());
      else if (client === null) done(unavailableError('UNAVAILABLE', 'this server just starts'));
      else {
        client.makeUnaryRequest(
          method.path,
          method.requestSerialize as (value: unknown) => Buffer,
          method.responseDeserialize,
          call.request,
          { deadline: call.getDeadline() },
          (error: ServiceError | null, response?: unknown) => {
            if (error === null) done(null, response);
            else done(withReason(error));
          },
        );
      }
    };
  }
  return relay;
}

function notLeader(): Partial<ServiceError> {
  return preconditionError('NOT_LEADER', 'this is a server; name its view leader');
}

function withReason({ code, details, metadata }: ServiceError): {
  code: number;
  details: string;
  metadata: Metadata;
} {
  return { code, details: `view leader: ${details}`, metadata };
}

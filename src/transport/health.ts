import { type Server, type ServerWritableStream, status } from '@grpc/grpc-js';

import {
  type HealthCheckRequest,
  type HealthCheckResponse,
  HealthCheckResponse_ServingStatus as Serving,
  type HealthServer,
  HealthService,
} from '../wire/gen/grpc/health/v1/health.js';

type Watcher = ServerWritableStream<HealthCheckRequest, HealthCheckResponse>;

/** The standard health service, for every service of one process. */
export class Health {
  private serving = false;
  private readonly watchers = new Map<Watcher, string>();

  /** `services`: full names, beside '' for the process as a whole. */
  constructor(private readonly services: readonly string[]) {}

  setServing(serving: boolean): void {
    this.serving = serving;
    for (const [watcher, service] of this.watchers) watcher.write(this.response(service));
  }

  addTo(server: Server): void {
    const handlers: HealthServer = {
      check: (call, done) => {
        const { service } = call.request;
        if (this.knows(service)) done(null, this.response(service));
        else done({ code: status.NOT_FOUND, details: `there is no service ${service} here` });
      },
      watch: (call: Watcher) => {
        const { service } = call.request;
        this.watchers.set(call, service);
        const forget = (): void => void this.watchers.delete(call);
        call.on('cancelled', forget);
        call.on('close', forget);
        call.on('error', forget);
        call.write(this.response(service));
      },
      list: (_call, done) => {
        const names = ['', ...this.services];
        done(null, {
          statuses: Object.fromEntries(names.map((name) => [name, this.response(name)])),
        });
      },
    };
    server.addService(HealthService, handlers);
  }

  private knows(service: string): boolean {
    return service === '' || this.services.includes(service);
  }

  private response(service: string): HealthCheckResponse {
    if (!this.knows(service)) return { status: Serving.SERVICE_UNKNOWN };
    return { status: this.serving ? Serving.SERVING : Serving.NOT_SERVING };
  }
}

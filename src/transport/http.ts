import { createServer, type Server } from 'node:http';

import { formatAddress, parseAddress } from './address.js';
import { KvsError } from './status.js';

/** What one daemon answers over HTTP. */
export interface HttpPages {
  /** Ready to serve: 200, otherwise 503. */
  readonly ready: () => boolean;
  /** Prometheus text. */
  readonly metrics: () => Promise<string>;
}

/** `/livez`, `/readyz`, `/healthz` and `/metrics`. */
export class HttpListener {
  private readonly server: Server;

  constructor(pages: HttpPages) {
    this.server = createServer((request, response) => {
      const path = (request.url ?? '/').split('?')[0];
      const say = (code: number, body: string): void => {
        response.writeHead(code, { 'content-type': 'text/plain; charset=utf-8' }).end(body);
      };
      if (request.method !== 'GET' && request.method !== 'HEAD') say(405, 'only GET\n');
      else if (path === '/livez') say(200, 'alive\n');
      else if (path === '/readyz' || path === '/healthz') {
        if (pages.ready()) say(200, 'ready\n');
        else say(503, 'not ready\n');
      } else if (path === '/metrics') {
        pages.metrics().then(
          (text) => say(200, text),
          () => say(500, 'the metrics could not be gathered\n'),
        );
      } else say(404, 'try /livez, /readyz or /metrics\n');
    });
  }

  async listen(address: string): Promise<string> {
    const [host, port] = parseAddress(address, 0);
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', (error: NodeJS.ErrnoException) => {
        const why = error.code === 'EADDRINUSE' ? 'is in use by another process' : error.message;
        const hint = 'choose another address with --http';
        reject(KvsError.ofProcess('ADDRESS_IN_USE', `${address} ${why}`, hint, error));
      });
      this.server.listen(port, host, resolve);
    });
    const bound = this.server.address();
    return formatAddress(host, typeof bound === 'object' && bound !== null ? bound.port : port);
  }

  stop(): Promise<void> {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(() => resolve()));
  }
}

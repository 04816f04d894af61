import { DEFAULT_STORAGE_SETTINGS, openStorage } from '../storage/storage.js';
import { parseAddresses } from '../transport/address.js';
import { deferred } from '../transport/deferred.js';
import type { RunningServer, ServerOptions } from './compose.js';

const LEADER_PORT = 7400;

/** Start a server; resolves when it belongs to a cluster and serves. Throws typed errors. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const leaders = parseAddresses(options.leader, LEADER_PORT);
  const { promise: failed, resolve: fail } = deferred<Error>();
  const settings = {
    ...DEFAULT_STORAGE_SETTINGS,
    engine: { ...DEFAULT_STORAGE_SETTINGS.engine, cacheBytes: options.cacheBytes },
  };
  // The disk works while the rest of the program is loaded.
  const opening = openStorage(options.dataDir, settings, {
    onFatal: fail,
    onDamage: (error) => options.log.error(error.message),
  });
  const [storage, { ServerProcess }] = await Promise.all([opening, import('./compose.js')]);
  const process = new ServerProcess(options, leaders, storage, fail);
  try {
    return { ...(await process.start()), failed, stop: () => process.stop() };
  } catch (error) {
    await process.abandon();
    throw error;
  }
}

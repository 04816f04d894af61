// A daemon that does what its mode says, on the real daemon code: node fake-daemon.js MODE [option]…
import { daemonProgram, runDaemon } from '../../dist/cli/daemon.js';
import { CommandError } from '../../dist/cli/exit-code.js';

const [mode, ...argv] = process.argv.slice(2);
const never = new Promise(() => undefined);

const program = daemonProgram('fake-daemon', 'For the tests.');
process.exitCode = await runDaemon(program, argv, {
  settings: () => ({ mode }),
  start: async () => {
    if (mode === 'refused') throw new CommandError('ADDRESS_IN_USE', 'it is taken', 'free it', 1);
    if (mode === 'slow') await never;
    return {
      listen: '127.0.0.1:1',
      http: '127.0.0.1:2',
      id: 'fake',
      failed: mode === 'failing' ? Promise.resolve(new Error('the disk is gone')) : never,
      // Something must keep the process, as a listening socket does.
      stop: () => (mode === 'stuck' ? never : Promise.resolve()),
      keeps: setInterval(() => undefined, 1000),
    };
  },
});

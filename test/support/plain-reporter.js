import process from 'node:process';

/** Ends the output with one line that any CI can read: `12 passed, 0 failed`. */
export default class PlainReporter {
  onRunComplete(_contexts, results) {
    // A file that could not even be loaded holds no counted tests, yet it is a failure.
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    const skipped = results.numPendingTests + results.numTodoTests;
    const left = skipped > 0 ? `${skipped} skipped: they need what this machine lacks\n` : '';
    const counts = `${results.numPassedTests} passed, ${failed} failed\n`;
    // Jest's own summary is printed after every reporter has run.
    process.once('exit', () => process.stdout.write(`${left}${counts}`));
  }
}

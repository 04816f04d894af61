import type { Host } from './host.js';
import type { BucketId, Key } from './ids.js';
import type { StoredRecord } from './operation.js';

const PAGE_RECORDS = 2048;
const PAGE_BYTES = 1024 * 1024;

/**
 * Read the records of a bucket whose keys begin with `prefix`, a page at a time, in key order.
 * `page` returns false to break off. `done` tells whether the end was reached.
 */
export function walk(
  host: Pick<Host, 'outbox' | 'expect'>,
  bucket: BucketId,
  prefix: Key,
  page: (records: readonly StoredRecord[]) => boolean,
  done: (whole: boolean) => void,
): void {
  const next = (after: Key): void => {
    const token = host.expect((completion) => {
      if (completion.type !== 'scanned') {
        done(false);
        return;
      }
      const { records, more } = completion;
      const end = records.findIndex(({ key }) => !key.startsWith(prefix));
      const goesOn = page(end < 0 ? records : records.slice(0, end));
      const last = records.at(-1);
      if (!goesOn || end >= 0 || !more || last === undefined) done(goesOn);
      else next(last.key);
    });
    host.outbox.scan(token, bucket, after, PAGE_RECORDS, PAGE_BYTES);
  };
  next(prefix);
}

/** Below so many µs each has a bucket of its own; above, each octave has half as many. */
const EXACT = 512;
const PER_OCTAVE = EXACT / 2;
const OCTAVE_BITS = Math.log2(PER_OCTAVE);
const BUCKETS = (32 - OCTAVE_BITS) * PER_OCTAVE;
const MOST = 2 ** 31 - 1;

/** `[bucket, count]` of those that are not empty: crosses process borders as JSON. */
export type Counts = readonly (readonly [number, number])[];

/**
 * How long operations took, to the microsecond or 0.4 %, whichever is more. Not the histogram of
 * `perf_hooks`: those of several processes, and of one in another language, are added up here.
 */
export class Latencies {
  count = 0;
  private readonly counts = new Float64Array(BUCKETS);

  add(ms: number, times = 1): void {
    this.count += times;
    this.counts[bucketFor(ms * 1000)]! += times;
  }

  merge(counts: Counts): void {
    for (const [bucket, count] of counts) {
      this.count += count;
      this.counts[bucket]! += count;
    }
  }

  toCounts(): Counts {
    const found: [number, number][] = [];
    for (const [bucket, count] of this.counts.entries()) if (count > 0) found.push([bucket, count]);
    return found;
  }

  /** The latency in ms that `share` of them do not exceed; NaN when there is none. */
  quantile(share: number): number {
    if (this.count === 0) return Number.NaN;
    let left = Math.max(1, Math.ceil(share * this.count));
    for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
      left -= this.counts[bucket]!;
      if (left <= 0) return middleOf(bucket) / 1000;
    }
    return Number.NaN;
  }
}

function bucketFor(microseconds: number): number {
  const whole = Math.min(MOST, Math.max(0, Math.round(microseconds)));
  if (whole < EXACT) return whole;
  const shift = 31 - Math.clz32(whole) - OCTAVE_BITS;
  return shift * PER_OCTAVE + (whole >>> shift);
}

/** In µs. */
function middleOf(bucket: number): number {
  if (bucket < EXACT) return bucket;
  const shift = Math.floor(bucket / PER_OCTAVE) - 1;
  const low = (bucket - shift * PER_OCTAVE) * 2 ** shift;
  return low + (2 ** shift - 1) / 2;
}

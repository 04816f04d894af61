/** SHA-1 (FIPS 180-4, §6.1) of a binary string, one byte per character, as five 32-bit words. */
export function sha1(text: string): readonly number[] {
  const words = padded(text);
  const state = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0];
  const schedule = new Int32Array(80);
  for (let block = 0; block < words.length; block += 16) {
    for (let at = 0; at < 16; at += 1) schedule[at] = words[block + at]!;
    for (let at = 16; at < 80; at += 1) {
      const mixed = schedule[at - 3]! ^ schedule[at - 8]! ^ schedule[at - 14]! ^ schedule[at - 16]!;
      schedule[at] = rotate(mixed, 1);
    }
    compress(state, schedule);
  }
  return state.map((word) => word >>> 0);
}

/** The digest, a number of 160 bits, modulo `divisor` (up to 2^21). */
export function sha1Modulo(text: string, divisor: number): number {
  let rest = 0;
  for (const word of sha1(text)) {
    rest = ((rest * 0x10000 + (word >>> 16)) % divisor) * 0x10000 + (word & 0xffff);
    rest %= divisor;
  }
  return rest;
}

function compress(state: number[], schedule: Int32Array): void {
  let [a, b, c, d, e] = state as [number, number, number, number, number];
  for (let at = 0; at < 80; at += 1) {
    const [mixed, constant] =
      at < 20
        ? [(b & c) | (~b & d), 0x5a827999]
        : at < 40
          ? [b ^ c ^ d, 0x6ed9eba1]
          : at < 60
            ? [(b & c) | (b & d) | (c & d), 0x8f1bbcdc]
            : [b ^ c ^ d, 0xca62c1d6];
    const next = (rotate(a, 5) + mixed + e + constant + schedule[at]!) | 0;
    e = d;
    d = c;
    c = rotate(b, 30);
    b = a;
    a = next;
  }
  for (const [at, word] of [a, b, c, d, e].entries()) state[at] = (state[at]! + word) | 0;
}

/** The message, a bit, zeros and its length in bits, as whole blocks of sixteen words. */
function padded(text: string): Int32Array {
  const words = new Int32Array((((text.length + 8) >>> 6) + 1) * 16);
  const put = (at: number, byte: number): void => {
    words[at >>> 2]! |= byte << (24 - 8 * (at & 3));
  };
  for (let at = 0; at < text.length; at += 1) put(at, text.charCodeAt(at));
  put(text.length, 0x80);
  words[words.length - 2] = Math.floor(text.length / 2 ** 29);
  words[words.length - 1] = text.length << 3;
  return words;
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}

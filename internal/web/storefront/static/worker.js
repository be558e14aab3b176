// The proof of work, beside the page: find the number n up to most for which SHA-256 of
// salt and n, as text, is the challenge. Our own SHA-256, since the browser's is there
// under TLS only, and one promise for each of a hundred thousand hashes takes longer.
const K = new Uint32Array(64);
const START = new Uint32Array(8);
{
  // The first 32 bits of the fractional parts of the roots of the first primes.
  const fraction = (x) => ((x - Math.floor(x)) * 2 ** 32) >>> 0;
  for (let n = 2, found = 0; found < 64; n++) {
    let prime = true;
    for (let d = 2; d * d <= n; d++) if (n % d === 0) prime = false;
    if (!prime) continue;
    if (found < 8) START[found] = fraction(Math.sqrt(n));
    K[found++] = fraction(Math.cbrt(n));
  }
}

const W = new Uint32Array(64);

// compress takes one block of 16 words, in W, into the state.
function compress(state) {
  for (let i = 16; i < 64; i++) {
    const a = W[i - 15];
    const b = W[i - 2];
    const s0 = ((a >>> 7) | (a << 25)) ^ ((a >>> 18) | (a << 14)) ^ (a >>> 3);
    const s1 = ((b >>> 17) | (b << 15)) ^ ((b >>> 19) | (b << 13)) ^ (b >>> 10);
    W[i] = (W[i - 16] + s0 + W[i - 7] + s1) | 0;
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let i = 0; i < 64; i++) {
    const S1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const t1 = (h + S1 + ((e & f) ^ (~e & g)) + K[i] + W[i]) | 0;
    const S0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const t2 = (S0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g; g = f; f = e; e = (d + t1) | 0;
    d = c; c = b; b = a; a = (t1 + t2) | 0;
  }
  state[0] += a; state[1] += b; state[2] += c; state[3] += d;
  state[4] += e; state[5] += f; state[6] += g; state[7] += h;
}

// load puts 64 bytes from an offset into W.
function load(bytes, from) {
  for (let i = 0; i < 16; i++) {
    const at = from + 4 * i;
    W[i] = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
  }
}

// solve returns the number, or -1. report hears how many were tried, now and then.
function solve({ salt, challenge, most }, report = () => {}) {
  const text = new TextEncoder().encode(salt);
  const wanted = Uint32Array.from(challenge.match(/.{8}/g), (x) => parseInt(x, 16));
  const whole = text.length - (text.length % 64);
  const before = START.slice();
  for (let at = 0; at < whole; at += 64) {
    load(text, at);
    compress(before);
  }
  const rest = text.subarray(whole);
  const state = new Uint32Array(8);
  const tail = new Uint8Array(128);
  for (let n = 0; n <= most; n++) {
    const digits = String(n);
    tail.fill(0);
    tail.set(rest);
    let end = rest.length;
    for (let i = 0; i < digits.length; i++) tail[end++] = digits.charCodeAt(i);
    const bits = 8 * (whole + end);
    tail[end] = 0x80;
    const size = end + 9 > 64 ? 128 : 64;
    for (let i = 0; i < 4; i++) tail[size - 1 - i] = bits >>> (8 * i);
    state.set(before);
    for (let at = 0; at < size; at += 64) {
      load(tail, at);
      compress(state);
    }
    if (state[0] === wanted[0] && state.every((x, i) => x === wanted[i])) return n;
    if (n % 20_000 === 0) report(n);
  }
  return -1;
}

if (typeof postMessage === 'function' && typeof document === 'undefined') {
  onmessage = ({ data }) => postMessage({ number: solve(data, (tried) => postMessage({ tried })) });
}

// The server's clock, as far as the answers tell, and waiting by it.

// All times are milliseconds since 1970. performance.now never jumps when
// somebody sets the local clock.
let offset = Date.now() - performance.now();
let error = Infinity; // offset is wrong by at most this

// observe takes the server's time out of an answer that was asked for and came
// at these values of performance.now. The server looked at its clock somewhere
// in between, so a sample is wrong by at most half its round trip. The tightest
// sample counts, until one contradicts it: then a clock has moved.
export function observe(serverNow, sent, received) {
  const sample = Date.parse(serverNow) - (sent + received) / 2;
  const half = (received - sent) / 2;
  if (Number.isNaN(sample)) return;
  if (half <= error || Math.abs(sample - offset) > half + error) {
    offset = sample;
    error = half;
  }
}

export function now() {
  return performance.now() + offset;
}

export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// backoff is how long to wait before try number n (from 0): doubling from half
// a second to ten, never less than the server asked for, with jitter upward so
// that buyers who failed together do not come back together.
export function backoff(n, retryAfter) {
  return Math.max(retryAfter, Math.min(10_000, 500 * 2 ** n)) * (1 + Math.random() * 0.3);
}

// until calls each(ms left) at once and whenever another whole second is gone,
// the last time with 0 exactly when the server's clock reaches end. It returns
// a function that stops it.
export function until(end, each) {
  let timer;
  const tick = () => {
    const left = Math.max(0, end - now());
    each(left);
    if (left > 0) timer = setTimeout(tick, left % 1000 || 1000);
  };
  // A hidden tab's timers are late; whoever comes back must not see it.
  const seen = () => {
    if (document.hidden) return;
    clearTimeout(timer);
    tick();
  };
  document.addEventListener('visibilitychange', seen);
  tick();
  return () => {
    clearTimeout(timer);
    document.removeEventListener('visibilitychange', seen);
  };
}

// parts splits what is left as a countdown shows it: rounded up, so that it
// never stands at zero while there is time left.
export function parts(left) {
  const s = Math.ceil(left / 1000);
  const two = (n) => String(n).padStart(2, '0');
  return {
    days: Math.floor(s / 86400),
    hours: two(Math.floor(s / 3600) % 24),
    minutes: two(Math.floor(s / 60) % 60),
    seconds: two(s % 60),
  };
}

// whileSeen runs the async function each now and then, about every ms, but not
// while the tab is hidden.
export async function whileSeen(ms, each) {
  for (;;) {
    await each();
    await pause(ms * (0.8 + Math.random() * 0.4));
    while (document.hidden) {
      await new Promise((resolve) => document.addEventListener('visibilitychange', resolve, { once: true }));
    }
  }
}

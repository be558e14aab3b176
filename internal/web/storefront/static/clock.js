// The server's clocks, as far as the answers tell, and waiting by them.

// moving never jumps when somebody sets the local clock, and goes on while the
// machine sleeps, which performance.now does not: the local clock tells how long that
// was. Whoever sets the local clock forward looks like a sleeper for the moment until
// the server has been asked again.
let gap = Date.now() - performance.now();
let slept = 0;
const awake = new Set();

function moving() {
  const elapsed = performance.now();
  const now = Date.now() - elapsed;
  if (Math.abs(now - gap) > 1_000) {
    if (now > gap) slept += now - gap;
    gap = now;
    for (const wake of awake) queueMicrotask(wake);
  }
  return elapsed + slept;
}

// onJump calls wake when this machine has slept or a clock was set.
export function onJump(wake) {
  awake.add(wake);
}

class Clock {
  offset = Date.now() - moving();
  error = Infinity; // offset is wrong by at most this

  // observe takes the server's time out of an answer that was asked for and came at
  // these values of moving. The server looked at its clock somewhere in between, so
  // a sample is wrong by at most half its round trip. The tightest sample counts,
  // until one contradicts it: then a clock has moved.
  observe(serverNow, sent, received) {
    const sample = Date.parse(serverNow) - (sent + received) / 2;
    const half = Math.max(0, received - sent) / 2;
    if (Number.isNaN(sample)) return;
    if (half <= this.error || Math.abs(sample - this.offset) > half + this.error) {
      this.offset = sample;
      this.error = half;
    }
  }

  now() {
    return moving() + this.offset;
  }
}

export const stopwatch = moving;

// The gate's clock decides when a sale is open, the store's how long an order can be
// paid.
export const gate = new Clock();
export const store = new Clock();

export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// until calls each(ms left) at once and whenever another whole second is gone, the
// last time with 0 when the clock reaches end. It returns a function that stops it.
export function until(clock, end, each) {
  let timer;
  const tick = () => {
    const left = Math.max(0, end - clock.now());
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

// keep runs the async function each again and again, with the pause in ms that gap
// returns; Infinity: until somebody wakes it. It sleeps while the tab is hidden, and
// looks at once when the tab is seen again, the network is back or the machine has
// slept. It returns a function that wakes it; while each is under way it runs once more
// after that, since its answer may be of the time before.
export function keep(gap, each) {
  let again = false;
  let wake = () => {};
  const looks = () => {
    again = true;
    wake();
  };
  document.addEventListener('visibilitychange', looks);
  window.addEventListener('online', looks);
  onJump(looks);
  (async () => {
    for (;;) {
      again = false;
      await each();
      const ms = again ? 0 : gap();
      do {
        await new Promise((resolve) => {
          const timer = ms < Infinity && !document.hidden ? setTimeout(resolve, ms) : 0;
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      } while (document.hidden);
    }
  })();
  return looks;
}

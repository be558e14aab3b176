// What a pass or a new account costs: a proof of work that runs beside the page, and a
// formula that the reader solves, from a picture or by ear.
import { lang, say } from './i18n.js';
import { post } from './api.js';
import { part } from './frame.js';

// challenge puts a challenge of the given path into root. solved is given the body to send
// once the reader has solved it, and resolves to the server's answer: the code
// challenge_failed begins anew. early hears that it is too soon, barred that there is
// none for this reader, and why.
export function challenge(root, { path, solved, early = () => {}, barred = () => {} }) {
  const note = part(root, 'note');
  const progress = part(root, 'progress');
  const form = part(root, 'form');
  const answer = part(root, 'answer');
  const picture = part(root, 'picture');
  const sound = part(root, 'sound');
  let run = 0; // an older one is told nothing any more
  let worker = null;

  function tellNote(tone, key, values) {
    note.dataset.tone = tone;
    say(note, key, values);
  }

  // tellWait says for how long to wait, and why.
  function tellWait({ reason, retryAfter }) {
    const key = { cooldown: 'pass.cooldown', wrong_answers: 'pass.guessed' }[reason] ?? 'login.too_many';
    tellNote('bad', key, { seconds: Math.max(1, Math.ceil(retryAfter / 1000)) });
  }

  // refused says why there is no challenge, or nothing for its solution.
  function refused(answer) {
    const { status, code, reason } = answer;
    part(root, 'start').hidden = false;
    if (code === 'too_many_requests') return tellWait(answer);
    if (code === 'not_open') early();
    if (code === 'not_eligible') barred(reason);
    const key = { not_open: 'pass.early', not_eligible: reason === 'tries' ? 'verdict.tries' : 'verdict.not_eligible', ended: 'verdict.ended', paused: 'verdict.paused' }[code];
    return key ? tellNote('info', key) : tellNote('bad', status === 0 ? 'error.network' : 'error.unavailable');
  }

  function stop() {
    run++;
    worker?.terminate();
    worker = null;
    progress.hidden = true;
    form.hidden = true;
    part(root, 'start').hidden = false;
  }

  // work resolves to the payload of a proof of work.
  function work(task) {
    return new Promise((resolve) => {
      progress.hidden = false;
      progress.value = 0;
      worker = new Worker(new URL('./worker.js', import.meta.url));
      worker.onmessage = ({ data }) => {
        // Found after half of the numbers, on average.
        if (data.tried !== undefined) progress.value = Math.min(0.99, data.tried / task.maxNumber);
        else resolve(btoa(JSON.stringify({ algorithm: task.algorithm, challenge: task.challenge, number: data.number, salt: task.salt, signature: task.signature })));
      };
      worker.onerror = () => resolve('');
      worker.postMessage({ salt: task.salt, challenge: task.challenge, most: task.maxNumber });
    });
  }

  // read resolves to the reader's answer.
  function read(puzzle) {
    return new Promise((resolve) => {
      picture.hidden = !puzzle.picture;
      sound.hidden = !puzzle.sound;
      if (puzzle.picture) picture.src = puzzle.picture;
      if (puzzle.sound) sound.src = puzzle.sound;
      say(part(root, 'question'), puzzle.sound ? 'pass.hear' : 'pass.formula');
      answer.value = '';
      form.hidden = false;
      (puzzle.sound ? sound : answer).focus();
      form.onsubmit = (event) => {
        event.preventDefault();
        const text = answer.value.trim();
        if (!text) {
          tellNote('bad', 'pass.empty');
          answer.focus();
          return;
        }
        resolve(text);
      };
    });
  }

  async function begin(bySound, failed = false) {
    stop();
    const mine = run;
    part(root, 'start').hidden = true;
    tellNote(failed ? 'bad' : 'info', failed ? 'pass.wrong' : 'pass.loading');
    const given = await post(path, bySound ? { sound: lang.startsWith('zh') ? 'zh' : 'en' } : undefined);
    if (mine !== run) return;
    if (given.status !== 200) {
      refused(given);
      return;
    }
    const puzzle = given.body;
    if (!failed) tellNote('info', puzzle.formula ? 'pass.solve' : 'pass.working');
    const body = {};
    const jobs = [];
    if (puzzle.work) jobs.push(work(puzzle.work).then((payload) => { body.work = payload; }));
    if (puzzle.formula) {
      body.formula = puzzle.formula;
      jobs.push(read(puzzle).then((text) => {
        body.answer = text;
        form.hidden = true;
        if (puzzle.work && !body.work) tellNote('info', 'pass.working');
      }));
    }
    await Promise.all(jobs);
    if (mine !== run) return;
    progress.hidden = true;
    tellNote('info', 'pass.sending');
    const end = await solved(body);
    if (mine !== run) return;
    if (end.code === 'challenge_failed') await begin(bySound, true);
    else if (end.status >= 300 || end.status === 0) refused(end);
  }

  part(root, 'start').addEventListener('click', () => begin(false));
  part(root, 'another').addEventListener('click', () => begin(false));
  part(root, 'listen').addEventListener('click', () => begin(true));
  return { begin: () => begin(false), stop };
}

// The one dialog: a question, no and yes.
import { say } from './i18n.js';

const dialog = document.getElementById('dialog');
const no = document.getElementById('dialog-no');
const yes = document.getElementById('dialog-yes');

no.addEventListener('click', () => dialog.close('no'));
yes.addEventListener('click', () => dialog.close('yes'));

// ask resolves to whether the answer was yes. The kind, "success" or "danger",
// is how it looks, and a danger has its focus on no. Escape means no.
export function ask(kind, key) {
  dialog.dataset.kind = kind;
  dialog.returnValue = '';
  say(document.getElementById('dialog-text'), key);
  dialog.showModal();
  (kind === 'danger' ? no : yes).focus();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}

// Keeps an open page up to date, and adds what only a script can. Every page works without it.
//
// 1. Live: the gateway says that something moved (server-sent events); the page is read again, twice a second at most, and
//    every part with `data-live` and an id is brought up to date in place. A page on which there is nothing yet is one such part.
// 2. Nothing jumps: while the pointer or the keyboard is in a list, rows change but keep their places; what is new waits. So does
//    all of a part with `data-hold`: what its buttons do must not change under the pointer.
// 3. Times grow older by themselves; copy buttons; rows chosen all at once; what opens over the page closes with Escape.
'use strict';

(() => {
  const events = document.body.dataset.events;
  const parts = () => document.querySelectorAll('[data-live][id]');
  const pause = 500; // ms between two readings of the page
  let reading = false;
  let wanted = false;
  let readAt = 0;
  let freshAt = Date.now();
  let connected = false;
  let gone = false;

  // --- the state of the page: live, reconnecting, how old the data is ---

  const sign = document.querySelector('.live');
  const said = document.querySelector('[data-live-said]');
  const say = (state, text) => {
    if (!sign) return;
    // Read out when it changes, and not with every second that the data grows older.
    if (sign.dataset.liveState !== state && said) said.textContent = text;
    sign.dataset.liveState = state;
    const place = sign.querySelector('.live-text');
    if (place.textContent !== text) place.textContent = text;
  };
  const age = (ms) => {
    const s = Math.round(ms / 1000);
    if (s < 60) return `${s} s`;
    return s < 3600 ? `${Math.floor(s / 60)} min` : `${Math.floor(s / 3600)} h`;
  };
  const tell = () => {
    if (!events || gone) return;
    if (connected) {
      // Nothing has moved since the last reading: it would have said so.
      if (!wanted && !reading) freshAt = Date.now();
      say('live', 'Live');
      return;
    }
    const old = Date.now() - freshAt;
    say('reconnecting', old < 3000 ? 'Reconnecting…' : `Reconnecting… data is ${age(old)} old`);
  };

  // Over with the key or the session: nothing on the page is kept up to date from here on, and no form is taken.
  const signedOut = () => {
    const notice = document.createElement('p');
    notice.className = 'notice wrong';
    notice.setAttribute('role', 'alert');
    const text = document.createElement('span');
    text.append(`You are signed out: the session has ended, or its key was revoked. What is shown is as of ${new Date(freshAt).toLocaleTimeString()}. `);
    const link = document.createElement('a');
    link.href = `/sign-in?${new URLSearchParams({ next: location.pathname + location.search })}`;
    link.textContent = 'Sign in again';
    text.append(link);
    notice.append(text);
    document.querySelector('.page-head').after(notice);
  };

  // --- bringing the page up to date ---

  const read = async () => {
    if (reading || gone) { wanted = !gone; return; }
    reading = true;
    wanted = false;
    try {
      // The address of an answer to a form leads to the page that the form is on.
      const answer = await fetch(location.href, { headers: { 'X-Live': '1' } });
      if (answer.status === 401) {
        gone = true;
        say('reconnecting', 'Signed out');
        signedOut();
        return;
      }
      if (answer.status === 404) {
        gone = true;
        say('reconnecting', 'What this page shows is gone. Reload to see what is known');
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      waits = false;
      for (const part of parts()) {
        if (!part.isConnected) continue;
        let [old, next] = [part, page.getElementById(part.id)];
        // It is not on the page any more: what it was a part of is another now.
        while (!next && (old = old.parentElement?.closest('[id]'))) next = page.getElementById(old.id);
        if (next && typing(old)) wanted = true;
        else if (next) renew(old, next);
      }
      freshAt = Date.now();
      ready(document);
      document.dispatchEvent(new CustomEvent('tessera:renewed'));
    } catch {
      wanted = true;
    } finally {
      readAt = Date.now();
      reading = false;
      if (wanted) soon();
    }
  };
  let timer = 0;
  const soon = () => {
    wanted = true;
    if (timer || reading || gone || document.hidden) return;
    const again = connected ? pause : 2000;
    timer = setTimeout(() => { timer = 0; read(); }, Math.max(0, readAt + again - Date.now()));
  };

  // Somebody types into a form that may be gone from the page when there is something to show on it.
  const typing = (element) => {
    const field = document.activeElement;
    return element.matches('.whole, #main') && element.contains(field) && field.matches('input, textarea, select') && field.value !== '';
  };

  const held = (element) => element.matches(':hover') || element.contains(document.activeElement);

  // What somebody has opened, typed, chosen or dragged stays as it is.
  const own = new Set(['open', 'value', 'checked', 'hidden']);
  const renew = (old, next) => {
    if (old.isEqualNode(next)) return;
    if (old.nodeType !== Node.ELEMENT_NODE || old.nodeName !== next.nodeName) { old.replaceWith(next.cloneNode(true)); return; }
    if ('still' in old.dataset) return;
    if ('hold' in old.dataset && held(old)) { waits = true; return; }
    for (const { name } of [...old.attributes]) if (!next.hasAttribute(name) && !own.has(name)) old.removeAttribute(name);
    for (const { name, value } of next.attributes) if (!own.has(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
    if (old.matches('input, select, textarea')) return;
    if (old.nodeName === 'TBODY') { rows(old, next); return; }
    const before = [...old.childNodes];
    const after = [...next.childNodes];
    after.forEach((node, place) => {
      if (place >= before.length) old.append(node.cloneNode(true));
      else if (before[place].nodeType === Node.TEXT_NODE && node.nodeType === Node.TEXT_NODE) {
        if (before[place].data !== node.data) before[place].data = node.data;
      } else renew(before[place], node);
    });
    before.slice(after.length).forEach((node) => node.remove());
  };

  // Rows are known by `data-key`. While the list is held they stay where they are, and the page is read again afterwards.
  let waits = false;
  const keys = (list) => JSON.stringify([...list.rows].map((row) => row.dataset.key));
  const rows = (old, next) => {
    const known = new Map([...old.rows].map((row) => [row.dataset.key, row]));
    if (held(old.closest('table'))) {
      for (const row of next.rows) {
        const present = known.get(row.dataset.key);
        if (present) renew(present, row);
      }
      if (keys(old) !== keys(next)) waits = true;
      return;
    }
    let place = old.firstElementChild;
    for (const row of [...next.rows]) {
      const present = row.dataset.key === undefined ? undefined : known.get(row.dataset.key);
      if (!present) { old.insertBefore(row.cloneNode(true), place); continue; }
      known.delete(row.dataset.key);
      renew(present, row);
      if (present === place) place = place.nextElementSibling; else old.insertBefore(present, place);
    }
    while (place) { const rest = place.nextElementSibling; place.remove(); place = rest; }
  };

  if (events && parts().length) {
    const source = () => {
      const stream = new EventSource(events);
      stream.onopen = () => { connected = true; tell(); soon(); };
      stream.onerror = () => {
        connected = false;
        tell();
        if (stream.readyState !== EventSource.CLOSED) return;
        // Refused, and not to be tried again by the browser itself: signed out, or the gateway is not there yet.
        setTimeout(() => { if (!gone) source(); }, 3000);
        soon();
      };
      // Two a second at most, whatever has moved.
      stream.addEventListener('fleet', soon);
    };
    source();
    tell();
    setInterval(tell, 1000);
    // Something on the page itself has changed what the page shows.
    document.addEventListener('tessera:moved', () => soon());
    // Rows that waited for the pointer or the keyboard to go, and a page that comes to the front again.
    for (const left of ['pointerout', 'focusout']) document.addEventListener(left, () => { if (waits || wanted) soon(); });
    document.addEventListener('visibilitychange', () => { if (!document.hidden) soon(); });
  } else if (events) {
    say('still', 'Up to date when loaded');
  }

  // --- times grow older ---

  const ago = (away) => {
    const s = Math.abs(away);
    if (s < 10) return 'just now';
    const of = (unit) => away < 0 ? Math.floor((s + unit / 2) / unit) : Math.floor(s / unit);
    const [amount, unit] = s < 60 ? [s, 's'] : s < 3600 ? [of(60), 'min']
      : s < 172800 ? [of(3600), 'h'] : s < 63115200 ? [of(86400), 'days']
      : [of(31557600), 'years'];
    return away < 0 ? `in ${amount} ${unit}` : `${amount} ${unit} ago`;
  };
  setInterval(() => {
    for (const time of document.querySelectorAll('time[datetime]')) {
      if ('exact' in time.dataset) continue;
      const text = ago(Math.trunc((Date.now() - Date.parse(time.dateTime)) / 1000));
      if (time.textContent !== text) time.textContent = text;
    }
  }, 5000);

  // --- what only a script can ---

  const ready = (root) => {
    for (const button of root.querySelectorAll('[data-copy][hidden], [data-script][hidden]')) button.hidden = false;
  };
  // What buttons are called while they say that something was copied.
  const labels = new WeakMap();
  document.addEventListener('click', async (event) => {
    const button = event.target.closest('[data-copy]');
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      if (!labels.has(button)) labels.set(button, button.getAttribute('aria-label'));
      button.setAttribute('aria-label', 'Copied');
      button.classList.add('s-done');
      setTimeout(() => { button.setAttribute('aria-label', labels.get(button)); button.classList.remove('s-done'); }, 1500);
    } catch {
      const range = document.createRange();
      range.selectNodeContents(button.previousElementSibling);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
    }
  });
  document.addEventListener('change', (event) => {
    const all = event.target.closest('[data-all]');
    if (!all) return;
    for (const box of document.querySelectorAll(`input[type=checkbox][name="${all.dataset.all}"]`)) box.checked = all.checked;
  });
  // What opens over the page is typed into at once, and closed as everything that opens is.
  document.addEventListener('toggle', (event) => {
    if (event.target.matches('details.create') && event.target.open) event.target.querySelector('input:not([type=hidden])')?.focus();
  }, true);
  document.addEventListener('keydown', (event) => {
    const open = event.key === 'Escape' && event.target.closest?.('details:is(.create, .ask)[open]');
    if (!open) return;
    open.open = false;
    open.querySelector('summary').focus();
  });
  // A filter takes effect when it is chosen; a text when it is sent, and so does a list that the keyboard goes through: each
  // key chooses the next of it.
  let keyed = null;
  document.addEventListener('keydown', (event) => { keyed = event.target; });
  document.addEventListener('pointerdown', () => { keyed = null; });
  document.addEventListener('change', (event) => {
    const form = event.target.closest('form[data-filter]');
    if (!form || (event.target === keyed && event.target.matches('select'))) return;
    if (event.target.matches('select, input[type=checkbox], input[type=radio]')) form.requestSubmit();
  });
  ready(document);

  // On a narrow screen the navigation is a row that scrolls: it begins where one is.
  const here = document.querySelector('.rail nav [aria-current]');
  const row = here && here.closest('nav');
  if (row) row.scrollLeft += here.getBoundingClientRect().left - row.getBoundingClientRect().left - (row.clientWidth - here.clientWidth) / 2;
})();

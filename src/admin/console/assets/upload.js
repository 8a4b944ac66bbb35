// Uploads from a form with `data-upload`: the form as it is, sent with a bar that says how far it is.
//
// 1. A file is chosen or dropped: its first bytes and its name go to the gateway, which says what it is. The version is
//    filled in and can be changed; nothing is stored until Upload is pressed.
// 2. The form goes out in the order in which it is read: token, names, file. Cancel ends it, and nothing is left of it.
// 3. Of several files each waits for its own Upload: a version is for good.
'use strict';

(() => {
  for (const form of document.querySelectorAll('form[data-upload]')) {
    const input = form.querySelector('input[type=file]');
    const version = form.querySelector('[name=version]');
    const name = form.querySelector('[name=package]');
    const submit = form.querySelector('[type=submit]');
    const cancel = form.querySelector('[data-cancel]');
    const progress = form.querySelector('[data-progress]');
    const bar = progress.querySelector('progress');
    const said = form.querySelector('[data-said]');
    const results = form.querySelector('[data-results]');
    const drop = form.querySelector('[data-drop]');
    const hint = form.querySelector('[data-version-hint]');
    const usual = hint.textContent;
    const limit = Number(form.dataset.limit);
    const waiting = [];
    let file = null;
    let sending = null;
    // What somebody has typed stays, whatever file is chosen; what was filled in for another file does not.
    let typed = version.value !== '';
    version.addEventListener('input', () => { typed = version.value !== ''; });

    const size = (bytes) => {
      const units = ['B', 'KiB', 'MiB', 'GiB'];
      let unit = 0;
      let shown = bytes;
      while (shown >= 1024 && unit < 3) { shown /= 1024; unit += 1; }
      return unit ? `${shown.toFixed(1)} ${units[unit]}` : `${bytes} B`;
    };
    const element = (kind, text, className) => {
      const made = document.createElement(kind);
      if (text) made.textContent = text;
      if (className) made.className = className;
      return made;
    };

    // --- what is wrong, at its field ---

    const clear = () => {
      for (const place of form.querySelectorAll('.field-wrong, .notice.wrong')) place.remove();
      for (const field of form.querySelectorAll('[aria-invalid]')) {
        field.removeAttribute('aria-invalid');
        field.setAttribute('aria-describedby', field.getAttribute('aria-describedby').replace(/ ?\S+-wrong/, ''));
      }
    };
    const wrong = (fieldName, text) => {
      const field = form.querySelector(`[name="${CSS.escape(fieldName || '')}"]:not([type=hidden])`);
      if (!field) {
        const notice = element('p', '', 'notice wrong');
        notice.setAttribute('role', 'alert');
        notice.append(element('span', text));
        results.prepend(notice);
        return;
      }
      const place = element('p', text, 'field-wrong');
      place.id = `${field.id}-wrong`;
      field.after(place);
      field.setAttribute('aria-invalid', 'true');
      field.setAttribute('aria-describedby', `${field.getAttribute('aria-describedby')} ${place.id}`);
      field.focus();
    };

    // --- a file is chosen ---

    const look = async (chosen) => {
      const head = new Uint8Array(await chosen.slice(0, 80).arrayBuffer());
      const text = btoa(String.fromCharCode(...head)).replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '');
      const query = new URLSearchParams({ file: chosen.name.slice(-120), head: text });
      const answer = await fetch(`${form.dataset.look}?${query}`, { redirect: 'error' });
      if (!answer.ok) return;
      const seen = await answer.json();
      if (chosen !== file) return;
      if (seen.version && !typed) version.value = seen.version;
      const from = { header: `read from the ${seen.type}`, name: 'read from the name of the file' }[seen.versionFrom];
      const other = from && version.value !== seen.version;
      if (other) hint.textContent = `You typed ${version.value}, and that is kept; ${seen.version} is ${from}. A version keeps its bytes for good.`;
      else if (from) hint.textContent = `${seen.version}: ${from}. A version keeps its bytes for good.`;
      else if (typed) hint.textContent = usual;
      else hint.textContent = `${chosen.name} says no version: type one. A version keeps its bytes for good.`;
      if (name && !name.value && seen.package) name.value = seen.package;
    };
    const choose = (chosen) => {
      file = chosen;
      clear();
      progress.hidden = false;
      bar.hidden = true;
      if (!typed) version.value = '';
      hint.textContent = usual;
      const rest = waiting.length ? `; ${waiting.length} more after it` : '';
      said.textContent = `${file.name}, ${size(file.size)}${rest}`;
      const list = new DataTransfer();
      list.items.add(file);
      input.files = list.files;
      if (file.size > limit) wrong('file', `${file.name} has ${size(file.size)}; accepted: up to ${form.dataset.limitText}`);
      if (!file.size) wrong('file', `${file.name} is empty; an artifact has at least one byte`);
      look(file).catch(() => {});
    };
    const take = (files) => {
      const all = [...files];
      if (!all.length) return;
      if (sending) { waiting.push(...all); return; }
      waiting.splice(0, waiting.length, ...all.slice(1));
      choose(all[0]);
    };
    input.multiple = true;
    input.addEventListener('change', () => take(input.files));
    for (const kind of ['dragenter', 'dragover']) {
      drop.addEventListener(kind, (event) => {
        if (![...event.dataTransfer.types].includes('Files')) return;
        event.preventDefault();
        drop.classList.add('over');
      });
    }
    drop.addEventListener('dragleave', (event) => { if (!drop.contains(event.relatedTarget)) drop.classList.remove('over'); });
    drop.addEventListener('drop', (event) => {
      event.preventDefault();
      drop.classList.remove('over');
      take(event.dataTransfer.files);
    });

    // What is dropped beside the place for it would open in place of the page.
    for (const kind of ['dragover', 'drop']) {
      addEventListener(kind, (event) => {
        if (event.defaultPrevented || ![...event.dataTransfer.types].includes('Files')) return;
        event.preventDefault();
        event.dataTransfer.dropEffect = 'none';
      });
    }

    // --- it is sent ---

    const done = (stored) => {
      const notice = element('p', '', 'notice done');
      const text = element('span', stored.said);
      const link = element('a', `Open ${stored.artifact.package}`);
      link.href = stored.href;
      text.append(' ', link);
      notice.append(text);
      results.prepend(notice);
      if (stored.warning) {
        const warning = element('p', '', 'notice warn');
        warning.append(element('span', `${stored.warning}.`));
        notice.after(warning);
      }
      while (results.childElementCount > 20) results.lastElementChild.remove();
      document.dispatchEvent(new CustomEvent('tessera:moved'));
      file = null;
      form.reset();
      typed = false;
      hint.textContent = usual;
      if (waiting.length) { choose(waiting.shift()); version.focus(); } else progress.hidden = true;
    };
    const refused = (request) => {
      let problem = {};
      try { problem = JSON.parse(request.responseText); } catch { /* a page, of somebody between us and the gateway */ }
      if (request.status === 401) { wrong('', 'You are signed out, and nothing was stored. Sign in in another tab, then press Upload again.'); return; }
      const fields = problem.errors || [];
      for (const error of fields) {
        const text = error.accepted ? `${error.detail}; accepted: ${error.accepted}` : error.detail;
        const known = ['package', 'version', 'file'].includes(error.field);
        wrong(known ? error.field : '', known ? text : `${error.field}: ${text}`);
      }
      if (fields.length) return;
      const place = { 409: 'version', 413: 'file', 422: 'file' }[request.status];
      wrong(place, problem.detail || `The gateway answered ${request.status}; nothing was stored.`);
    };
    const send = () => {
      clear();
      const body = new FormData();
      body.append('csrf', form.querySelector('[name=csrf]').value);
      if (name) body.append('package', name.value);
      body.append('version', version.value);
      body.append('file', file, file.name);
      const request = new XMLHttpRequest();
      const began = performance.now();
      sending = request;
      bar.hidden = false;
      bar.value = 0;
      progress.hidden = false;
      said.textContent = `${file.name}: begun`;
      // Not `disabled`, with which it would lose the focus.
      submit.setAttribute('aria-disabled', 'true');
      submit.textContent = 'Uploading…';
      cancel.hidden = false;
      let told = 0;
      request.upload.onprogress = (event) => {
        bar.value = event.total ? event.loaded / event.total : 0;
        const now = performance.now();
        // Not with every packet: it is read out.
        if (now - told < 500 && event.loaded < event.total) return;
        told = now;
        const rate = event.loaded / Math.max(0.001, (now - began) / 1000);
        const left = Math.ceil((event.total - event.loaded) / Math.max(1, rate));
        said.textContent = event.loaded < event.total
          ? `${file.name}: ${size(event.loaded)} of ${size(event.total)}, ${size(rate)}/s, ${left} s left`
          : `${file.name}: sent; the gateway checks and stores it`;
      };
      const over = (label) => {
        sending = null;
        submit.removeAttribute('aria-disabled');
        submit.textContent = label;
        if (document.activeElement === cancel) submit.focus();
        cancel.hidden = true;
        bar.hidden = true;
      };
      request.onload = () => {
        if (request.status === 200 || request.status === 201) {
          over('Upload');
          done(JSON.parse(request.responseText));
          return;
        }
        over('Upload');
        said.textContent = `${file.name}: not stored`;
        refused(request);
      };
      request.onerror = () => {
        over('Retry');
        said.textContent = `${file.name}: not stored`;
        wrong('', `The connection broke off after ${size(bar.value * file.size)}; nothing was stored. Press Retry to send it again from the start.`);
        submit.focus();
      };
      request.onabort = () => {
        over('Upload');
        said.textContent = `${file.name}: cancelled; nothing was stored`;
        submit.focus();
      };
      request.open('POST', form.action);
      request.setRequestHeader('Accept', 'application/json');
      request.send(body);
    };
    cancel.addEventListener('click', () => { if (sending) sending.abort(); });
    form.addEventListener('submit', (event) => {
      if (sending) { event.preventDefault(); return; }
      // Without a file the browser says so itself.
      if (!file) return;
      event.preventDefault();
      if (file.size > limit) { clear(); wrong('file', `${file.name} has ${size(file.size)}; accepted: up to ${form.dataset.limitText}`); return; }
      send();
    });
    addEventListener('beforeunload', (event) => { if (sending) event.preventDefault(); });
  }
})();

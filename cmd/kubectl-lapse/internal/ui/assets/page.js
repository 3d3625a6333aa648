// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// The pages work without this. It keeps lists up to date, and checks a request while it is typed.
"use strict";

const live = document.getElementById("live");
const told = document.getElementById("told");

// tell says something to whoever listens, too.
function tell(words) {
  if (told && told.textContent !== words) told.textContent = words;
}

// busy is whoever is filling in a form of the list: it must not change under his fingers.
function busy() {
  const at = document.activeElement;
  if (at && live.contains(at) && (at.tagName === "INPUT" || at.closest("form"))) return true;
  if (live.querySelector("details[open]")) return true;
  return [...live.querySelectorAll("input:not([type=hidden])")].some((i) => i.value !== i.defaultValue);
}

// said is what a page says is wrong that came in the place of the one that was asked for.
const said = (page) => [...page.querySelectorAll("main .note.bad")].at(-1)?.textContent; // above it may stand what came of something before

class Trouble extends Error {}

const ended = "The kubectl lapse ui that made this page was ended, or your browser lost its cookie. Nothing is done here any more: close this page.";

// ours fetches from the run of kubectl lapse ui that made this page. Once that is ended, anybody on this
// machine may have its port: what he answers is not looked at, and he is asked, and sent, no more.
let over = false;
async function ours(address, how) {
  if (over) throw new Error(ended);
  const answer = await fetch(address, how);
  over ||= !told || answer.headers.get("Lapse-Run") !== told.dataset.run;
  if (over) throw new Error(ended);
  return answer;
}

// load reads this page again, and puts its list in the place of the one that is shown.
async function load() {
  const answer = await ours(location.href);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const next = page.getElementById("live");
  if (!next) throw said(page) ? new Trouble(`${said(page)}. What is shown may be old.`) : new Error(answer.status);
  if (busy()) return false;
  const changed = next.innerHTML !== live.innerHTML;
  const focused = live.contains(document.activeElement) ? document.activeElement.id : "";
  live.replaceChildren(...next.childNodes);
  live.dataset.revision = next.dataset.revision;
  if (focused) document.getElementById(focused)?.focus();
  return changed;
}

const every = 2000; // milliseconds; nobody waits for less
const later = 5000; // while there is trouble: each time may ask somebody to log in
const anew = 15; // times that, after which times that are left are shown anew
const lost = "This page cannot be renewed: kubectl lapse ui was ended, or the API server is away. What is shown may be old.";
let turns = 0;
let away = false;

async function look() {
  try {
    if (document.hidden) return;
    turns++;
    const answer = await ours("changes");
    const revision = answer.ok ? await answer.text() : "";
    if (revision === "") throw new Error(answer.status);
    const changed = away || revision !== live.dataset.revision;
    if (changed && !away && busy()) { // trouble is said again, whoever fills in something
      tell("Something has changed. It is shown when you are done here.");
    } else if (changed || turns >= anew) {
      turns = 0;
      if ((await load()) && changed) tell("The list has changed.");
      else if (away) tell("");
      away = false;
    }
  } catch (wrong) {
    away = true;
    tell(wrong instanceof Trouble ? wrong.message : over ? ended : lost);
  } finally {
    if (!over) setTimeout(look, away ? later : every);
  }
}

if (live) setTimeout(look, every);

// The form is checked when somebody has stopped typing for a moment. One check goes on at a time.
const ask = document.getElementById("ask");
const gone = "kubectl lapse ui does not answer. It may have been ended.";
let checking = new AbortController();

async function check() {
  checking.abort();
  const mine = (checking = new AbortController());
  const fields = new URLSearchParams(new FormData(ask));
  fields.set("do", "typed"); // which reads nothing of what else may be asked for
  try {
    const answer = await ours(ask.action, { method: "POST", body: fields, signal: mine.signal });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = page.getElementById("answer");
    if (next) document.getElementById("answer").replaceChildren(...next.childNodes);
    tell(next ? "" : said(page) ?? gone);
  } catch {
    if (!mine.signal.aborted) tell(over ? ended : gone);
  }
}

if (ask) {
  let pause;
  ask.addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(check, 400);
  });
}


"use strict";

const at = (id) => document.getElementById(id);

// What is going on, and what went wrong, for eyes and screen readers alike.
function tell(text) { at("told").textContent = text; }
function complain(text) { at("error").textContent = text; }

async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  if (answer.ok) return answer;
  let message = `The server answered ${answer.status}.`;
  try { message = (await answer.json()).error; } catch { /* no JSON: the number says enough */ }
  throw new Error(message);
}
async function get(path) { return (await ask(path)).json(); }
async function post(path, content = {}) {
  return (await ask(path, { method: "POST", body: JSON.stringify(content) })).json();
}

// Runs what a person asked for; an error is told and ends nothing.
async function attempt(action) {
  complain("");
  try { await action(); } catch (error) { tell(""); complain(error.message); }
}

async function waiting(text, promise) {
  const begun = Date.now();
  const shown = () => tell(`${text} ${Math.round((Date.now() - begun) / 1000)} s`);
  shown();
  const timer = setInterval(shown, 1000);
  try { return await promise; } finally { clearInterval(timer); tell(""); }
}

function made(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const tabs = [...document.querySelectorAll("[role=tab]")];
function choose(tab, focused = false) {
  for (const each of tabs) {
    each.setAttribute("aria-selected", each === tab);
    each.tabIndex = each === tab ? 0 : -1;
    at(each.getAttribute("aria-controls")).hidden = each !== tab;
  }
  if (focused) tab.focus();
  complain("");
  tell("");
  history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`);
  document.dispatchEvent(new CustomEvent("shown", { detail: tab.getAttribute("aria-controls") }));
}
for (const tab of tabs) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) choose(tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length], true);
  });
}
// The scripts of the tabs follow in this module, and hear of the first one.
queueMicrotask(() => choose(at(`tab-${location.hash.slice(1)}`) ?? tabs[0]));
const visible = (id) => !at(id).hidden;

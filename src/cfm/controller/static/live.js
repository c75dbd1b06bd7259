// Keeps an open page up to date.  The server sends the parts that changed, by id; each is put into its place
// by changing as little as possible, so that what you select, where you are and how far you have scrolled
// stays.  A page that nobody sees asks for nothing.
"use strict";

const body = document.body;
const hidden_again_ms = 5000;
let stream = null;
let seen = body.dataset.live;
let told = "";

function address() {
  const here = new URL(location.href);
  here.hash = "";
  here.searchParams.set("live", seen);
  return here;
}

function open() {
  if (stream || document.hidden) return;
  stream = new EventSource(address());
  stream.onopen = () => say("live");
  stream.onmessage = (event) => take(event);
  stream.onerror = () => {
    say("not connected");
    if (stream.readyState === EventSource.CLOSED) {
      close();
      setTimeout(open, hidden_again_ms);
    }
  };
}

function close() {
  if (stream) stream.close();
  stream = null;
}

function take(event) {
  const message = JSON.parse(event.data);
  say("live");
  document.getElementById("now").textContent = message.at;
  for (const [id, html] of Object.entries(message.parts || {})) put(id, html);
  seen = event.lastEventId;
}

// Told to people who listen only when it changes.
function say(state) {
  if (state === told) return;
  document.getElementById("live").className = state === "live" ? "on" : "off";
  document.getElementById("said").textContent =
    state === "live" ? (told ? "connected again" : "") : "not connected: this page is not up to date";
  told = state;
}

function put(id, html) {
  const old = document.getElementById(id);
  const box = document.createElement("template");
  box.innerHTML = html;
  const fresh = box.content.firstElementChild;
  if (!old || !fresh) return;
  const active = document.activeElement;
  morph(old, fresh);
  if (active && active !== document.activeElement && active.isConnected) active.focus({ preventScroll: true });
}

// Make `old` look like `fresh`, touching only what differs.
function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
  } else if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
  } else if (!old.isEqualNode(fresh)) {
    morphAttributes(old, fresh);
    morphChildren(old, fresh);
  }
}

function morphAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    const yours = name === "open" || name === "value";  // what the reader opened or typed stays
    if (!fresh.hasAttribute(name) && !yours) old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}

// Children with an id are found by it, the others by their place.
function morphChildren(old, fresh) {
  const wanted = new Set([...fresh.children].map((child) => child.id).filter(Boolean));
  for (const child of [...old.children]) {
    if (child.id && !wanted.has(child.id)) child.remove();
  }
  const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const same = child.id ? known.get(child.id) : at && !at.id ? at : null;
    if (!same) {
      old.insertBefore(child, at);
    } else if (same === at) {
      at = at.nextSibling;
      morph(same, child);
    } else {
      old.insertBefore(same, at);
      morph(same, child);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
addEventListener("pagehide", close);
addEventListener("pageshow", open);
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest && event.target.closest("input, textarea, select");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    document.getElementById("search").focus();
  }
});
if (seen) open();

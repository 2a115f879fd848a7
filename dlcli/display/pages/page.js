// What the scripts of all pages share: their data, elements, and the state in the address.

/** The object that Python gave this page. */
export function data() {
  return JSON.parse(document.getElementById("data").textContent);
}

/** The element of an id. */
export const byId = (id) => document.getElementById(id);

/**
 * Make an element: its attributes or properties, then its children. Strings become text, never
 * markup.
 */
export function element(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** A colour of the page's style sheet, as it is now: light, dark or printed. */
export const colour = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Call a function when colours change: light or dark, or for paper. */
export function onColours(redraw) {
  for (const query of ["(prefers-color-scheme: dark)", "print"])
    matchMedia(query).addEventListener("change", redraw);
}

/** The bytes of a base64 text. */
export const bytesOf = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));

/** The state in the address, `#name=value&…`, as a plain object of texts. */
export const addressState = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

let timer = 0;
let pending = null;

function flush() {
  clearTimeout(timer);
  if (pending !== null) history.replaceState(null, "", pending);
  pending = null;
}

/**
 * Put a state into the address. `step` makes an entry that the back button returns to; else the
 * present one is replaced, once nothing has changed for a moment.
 */
export function keepState(state, { step = false } = {}) {
  const hash = `#${new URLSearchParams(state).toString().replaceAll("%2C", ",")}`;
  clearTimeout(timer);
  if (step) {
    flush(); // what the entry that is left behind has last shown
    if (hash !== location.hash) history.pushState(null, "", hash);
  } else {
    pending = hash;
    timer = setTimeout(flush, 200);
  }
}

/** Call a function when the user goes back, forward, or changes the address. */
export function onState(restore) {
  addEventListener("popstate", () => {
    pending = null;
    restore();
  });
}

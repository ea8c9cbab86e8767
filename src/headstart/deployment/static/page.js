/** What the page does; read this file first. */

import * as arrivals from "./arrivals.js";
import * as camera from "./camera.js";
import { Card, reasonOf } from "./card.js";
import { table } from "./csv.js";
import { button, byId, element } from "./elements.js";
import { Item, Queue } from "./queue.js";
import { ServerError, ask, person } from "./server.js";
import { mostBytes } from "./sizes.js";
import { chooseLanguage, currentLanguage, millions, say, startLanguage } from "./words.js";

const CHIPS = 12; // classes named at the top
const SPOKEN = 3; // results of one request that are read aloud one by one

let model = null; // what /metadata said
let trouble = null; // key of what keeps the page from working
let busyUntil = 0; // when the server will be asked again, milliseconds
const cards = new Map(); // item -> card

const queue = new Queue({
  changed(items) {
    for (const item of items) cards.get(item)?.render();
    const ended = items.filter(item => item.ended && !item.spoken);
    for (const item of ended) item.spoken = true;
    if (ended.length > SPOKEN) speak(say("live_many", { n: ended.length }));
    else if (ended.length) speak(ended.map(spoken).join(" "));
    busyUntil = 0;
    showProgress();
  },
  busy(seconds) {
    busyUntil = Date.now() + 1000 * seconds;
    countDown();
  },
  stopped: inTrouble,
  idle: showProgress,
});

const spoken = item => `${say("live_one", { name: item.name, what: cards.get(item).summary() })}.`;

function speak(words) {
  byId("live").textContent = words;
}

/** Pictures have come, in whatever way. */
function add(named, passedOver = 0) {
  const words = [named.length ? say("added", { n: named.length }) : say("no_files")];
  if (passedOver) words.push(say("passed_over", { n: passedOver }));
  const items = named.map(({ file, name }) => new Item(file, name));
  if (model) show(items);
  if (model) trouble = null; // it is tried again
  tell(passedOver || !named.length ? words.join(" ") : "");
  showTrouble();
  if (named.length) speak(words.join(" "));
  queue.add(items);
  showProgress();
}

function show(items) {
  for (const item of items) cards.set(item, new Card(item, model, speak));
  byId("cards").append(...items.map(item => cards.get(item).root));
  byId("list").hidden = cards.size === 0;
}

// --- what is said ---------------------------------------------------------------------------------------

/** A word to the person, above the results. */
function tell(words, ...more) {
  byId("said").replaceChildren(...(words ? [element("p", { textContent: words }), ...more] : []));
}

function inTrouble(error) {
  trouble = error instanceof ServerError && error.status === 401 ? "token_needed" : "unreachable";
  showTrouble();
}

function showTrouble() {
  if (trouble === null) return;
  const key = trouble === "token_needed" ? "token_enter" : "retry";
  tell(say(trouble), button(say(key), again));
}

function again() {
  trouble = null;
  tell("");
  byId("results").focus(); // the button that was pressed disappears
  if (model) queue.again();
  else connect();
}

function showProgress() {
  const all = queue.items.length;
  const done = queue.items.filter(item => item.ended).length;
  const failed = queue.items.filter(item => item.state === "failed").length;
  byId("bar").hidden = all === 0;
  byId("progress").max = Math.max(1, all);
  byId("progress").value = done;
  byId("progress").hidden = done === all;
  const wait = Math.ceil((busyUntil - Date.now()) / 1000);
  byId("progress-words").textContent = wait > 0 ? say("busy", { n: wait }) : say("progress", { done, n: all });
  byId("cancel").hidden = done === all;
  byId("again").hidden = queue.running || failed === 0;
  byId("again").textContent = say("again", { n: failed });
  byId("csv").hidden = byId("clear").hidden = done < all;
}

function countDown() {
  showProgress();
  if (busyUntil > Date.now()) setTimeout(countDown, 250);
}

/** All words of the page, in the language of now. */
function showWords() {
  document.documentElement.lang = currentLanguage();
  for (const one of document.querySelectorAll("[data-word]")) one.textContent = say(one.dataset.word);
  for (const one of document.querySelectorAll("[data-label]")) one.setAttribute("aria-label", say(one.dataset.label));
  for (const one of document.querySelectorAll("[data-language]")) {
    one.setAttribute("aria-pressed", String(one.dataset.language === currentLanguage()));
  }
  document.title = `${say("title")} – headstart`;
  showModel();
  showProgress();
  showTrouble();
  for (const card of cards.values()) card.render();
}

/** What the server said of its model. */
function showModel() {
  byId("about").hidden = model === null;
  if (model === null) {
    byId("knows").textContent = trouble === null ? say("connecting") : "";
    return;
  }
  const { classes, limits } = model;
  byId("knows").textContent = say("knows", { n: classes.length });
  byId("classes").replaceChildren(
    ...classes.slice(0, CHIPS).map(name => element("li", { textContent: name })),
    ...(classes.length > CHIPS ? [element("li", { className: "quiet", textContent: say("more_classes", { n: classes.length - CHIPS }) })] : []),
  );
  const sizes = {
    mb: Math.floor(mostBytes(limits) / 2 ** 20 * 10) / 10,
    pixels: millions(limits.pixels),
    jpeg: millions(limits.jpeg_pixels),
  };
  byId("limits").textContent = say("limits", sizes) + (model.explains ? "" : ` ${say("heat_none")}`);
  const nothing = say("about_nothing");
  const facts = [
    ["about_classes", classes.join(", ")],
    ["about_architecture", model.model.architecture || nothing],
    ["about_licence", model.licence || nothing],
    ["about_notice", model.notice],
    ["about_unknown", say(model.knows_unknown ? "about_unknown_yes" : "about_unknown_no")],
    ["about_heat", say(model.explains ? "about_heat_yes" : "heat_none")],
    ["about_limits", say("about_limits_are", sizes)],
    ["about_version", model.versions.server.headstart ?? nothing],
  ].filter(([, text]) => text);
  byId("facts").replaceChildren(
    ...facts.flatMap(([key, text]) => [element("dt", { textContent: say(key) }), element("dd", { textContent: text })]),
    element("dt", { textContent: say("about_programs") }),
    element("dd", {}, element("a", { href: "docs", textContent: "POST /predict" })),
  );
}

// --- what is pressed ------------------------------------------------------------------------------------

function listen() {
  arrivals.listen(add);
  camera.listen(file => add([{ file, name: file.name }]));
  byId("choose").addEventListener("click", () => byId("files").click());
  byId("cancel").addEventListener("click", () => {
    queue.cancel();
    speak(say("cancelled"));
    byId("results").focus();
  });
  byId("again").addEventListener("click", again);
  byId("csv").addEventListener("click", download);
  byId("clear").addEventListener("click", clear);
  for (const one of document.querySelectorAll("[data-language]")) {
    one.addEventListener("click", () => {
      chooseLanguage(one.dataset.language);
      showWords();
    });
  }
}

function clear() {
  queue.clear();
  for (const card of cards.values()) card.forget();
  cards.clear();
  show([]);
  byId("cards").replaceChildren();
  tell("");
  showProgress();
  speak(say("cleared"));
  byId("choose").focus();
}

function download() {
  const text = table(queue.items, model.classes, reasonOf);
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  element("a", { href: address, download: "predictions.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** The token, asked for in a dialog; null if it is closed. */
person.askToken = wasWrong => new Promise(resolve => {
  const dialog = byId("token");
  const input = byId("token-text");
  byId("token-wrong").textContent = wasWrong ? say("token_wrong") : "";
  input.value = "";
  dialog.returnValue = "";
  dialog.addEventListener("close", () => {
    resolve(dialog.returnValue === "ok" ? input.value.trim() : null);
    input.value = "";
  }, { once: true });
  byId("token-close").onclick = () => dialog.close();
  if (!dialog.open) dialog.showModal();
  input.focus();
});

async function connect() {
  showModel();
  try {
    model = await (await ask("metadata")).json();
  } catch (error) {
    inTrouble(error);
    showModel();
    return;
  }
  show(queue.items);
  showModel();
  queue.limits = model.limits;
  queue.run();
}

startLanguage();
showWords();
byId("page").hidden = false;
listen();
connect();

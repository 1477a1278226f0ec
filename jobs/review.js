// The review page. Whatever comes from the corpus goes into the page as text, never as markup.

const $ = (id) => document.getElementById(id);
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]|[\u{e0000}-\u{e007f}]/gu;
const LONGEST = 300; // characters of a name or title
const SIGNS = { accept: "✓", reject: "✕", skip: "–" };

let facts, target, view = "suggested";
let items = []; // what is listed: {prefix, level, ...}
let chosen = -1;
const trees = new Map(); // the paths of the domains that are open
const samples = new Map();

// Characters that hide or turn what stands around them are written out.
function visible(text, most = Infinity) {
  const shown = text.length > most ? text.slice(0, most) + "…" : text;
  return shown.replace(HIDDEN, (c) => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

async function ask(path, body) {
  const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  let answer;
  try {
    answer = await fetch(`api/${path}`, options);
  } catch {
    throw new Error("The server has ended: start lode review again. What you decided is in the file.");
  }
  const found = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(found.error), { status: answer.status });
  return found;
}

const query = (path, values) => ask(`${path}?${new URLSearchParams(values)}`);
const number = (value) => value.toLocaleString("en");
const percent = (value) => `${Math.round(100 * value)} %`;

function say(text, error = false) {
  $("said").textContent = visible(text, 500);
  $("said").className = error ? "said error" : "said";
  clearTimeout(say.timer);
  say.timer = setTimeout(() => ($("said").textContent = ""), error ? 9000 : 3500);
}

function failing(work) {
  return async (...values) => {
    try {
      await work(...values);
    } catch (error) {
      say(error.message, true);
    }
  };
}

const decided = (prefix) => facts.decisions.find((one) => one.target === target && one.prefix === prefix);

// What is listed

async function fill() {
  const call = (fill.calls = (fill.calls ?? 0) + 1); // an answer that comes after a later question is late
  const search = $("search").value.trim().toLowerCase();
  const fits = (one) => one.prefix.toLowerCase().includes(search);
  let found;
  if (view === "suggested") {
    found = (await query("suggestions", { target })).map((one) => ({ ...one, level: 1 })).filter(fits);
  } else if (view === "decided") {
    found = facts.decisions.filter((one) => one.target === target).map((one) => ({ ...one, why: one.note, level: 1 })).filter(fits);
  } else if (view === "conflicts") {
    found = facts.conflicts.filter((one) => one.target === target).map((one) => ({
      ...one, level: 1, why: one.said.map((other) => `${other.reviewer || "somebody"}: ${other.decision}${other.note ? ` (${other.note})` : ""}`).join("; "),
    })).filter(fits);
  } else {
    found = [];
    for (const one of await query("domains", { target, search })) {
      const open = trees.get(one.domain);
      found.push({ ...one, prefix: one.domain, level: 1, open: Boolean(open) });
      for (const node of open?.nodes ?? []) {
        // A host that is the domain itself stands in the domain's own line.
        if (node.prefix !== one.domain) found.push({ ...node, domain: one.domain, level: 1 + node.prefix.split("/").length });
      }
      if (open?.more) found.push({ prefix: "", why: `${number(open.more)} smaller paths are not listed`, level: 2 });
    }
  }
  if (call !== fill.calls) return;
  const before = items[chosen]?.prefix;
  items = found.filter((one) => one.prefix || one.why);
  draw();
  const again = items.findIndex((one) => one.prefix && one.prefix === before);
  choose(again >= 0 ? again : Math.min(Math.max(chosen, 0), items.length - 1), false);
}

function draw() {
  $("list").replaceChildren(...items.map(line));
  const nothing = { suggested: "Nothing stands out. Look at the domains.", domains: "No domain with a collected page.", decided: "Nothing is decided yet.", conflicts: "All is decided." };
  $("empty").textContent = $("search").value ? "Nothing of that name." : nothing[view];
  $("empty").hidden = items.length > 0;
  for (const button of document.querySelectorAll("[data-view]")) button.setAttribute("aria-pressed", String(button.dataset.view === view));
  progress();
}

function line(one, place) {
  const said = decided(one.prefix)?.decision ?? "";
  const made = element("li", "", [said, one.over ? "over" : ""].join(" ").trim());
  made.setAttribute("role", "treeitem");
  made.setAttribute("aria-level", one.level);
  made.setAttribute("aria-selected", "false");
  if (one.open !== undefined) made.setAttribute("aria-expanded", String(one.open));
  made.tabIndex = -1;
  const name = element("span", (one.open === undefined ? "" : one.open ? "▾ " : "▸ ") + visible(one.prefix, LONGEST), "name");
  name.style.paddingLeft = `${0.9 * (one.level - 1)}em`;
  name.title = visible(one.prefix, 2000);
  const parts = [element("span", SIGNS[said] ?? "", "sign"), name];
  if (one.pages !== undefined) {
    const bar = element("span", "", "share");
    bar.append(element("i"));
    bar.firstChild.style.width = percent(one.share).replace(" ", "");
    parts.push(element("span", `${number(one.collected)} of ${number(one.pages)}`, "count"), bar);
  } else {
    parts.push(element("span", one.moves === undefined ? "" : `${one.decision === "look" ? "look" : one.decision + "?"} ${number(one.moves)}`, "count"), element("span"));
  }
  if (one.why) parts.push(element("span", visible(one.why, 600), "why"));
  made.append(...parts);
  made.setAttribute("aria-label", [visible(one.prefix, LONGEST), one.pages === undefined ? "" : `${percent(one.share)} of ${number(one.pages)} pages`, one.why ? visible(one.why, 600) : "", said].filter(Boolean).join(", "));
  made.addEventListener("click", () => (choose(place), one.open !== undefined && openOrClose(place)));
  return made;
}

function progress() {
  const mine = facts.decisions.filter((one) => one.target === target);
  const suggested = progress.suggested ?? [];
  const done = suggested.filter((one) => decided(one.prefix)).length;
  $("progress-text").textContent = `${number(mine.length)} decided · ${number(done)} of ${number(suggested.length)} suggested`;
  $("progress-bar").style.width = suggested.length ? `${(100 * done) / suggested.length}%` : "0";
  $("undo").disabled = !facts.undo;
  document.querySelector('[data-view="conflicts"]').hidden = !facts.conflicts.length;
}

// The chosen path

function choose(place, focus = true) {
  const lines = $("list").children;
  for (const other of $("list").querySelectorAll('[aria-selected="true"]')) {
    other.setAttribute("aria-selected", "false");
    other.tabIndex = -1;
  }
  chosen = place;
  const one = items[place];
  if (!one) return detail(null);
  lines[place].setAttribute("aria-selected", "true");
  lines[place].tabIndex = 0;
  lines[place].scrollIntoView({ block: "nearest" });
  if (focus) lines[place].focus({ preventScroll: true });
  detail(one);
}

function detail(one) {
  const said = one && decided(one.prefix);
  $("detail-title").textContent = one?.prefix ? visible(one.prefix, LONGEST) : "Choose a path";
  $("why").textContent = one?.why ? visible(one.why, 600) : one?.pages === undefined ? "" :
    `${number(one.collected)} of ${number(one.pages)} pages collected, ${number(one.collected_before)} of them in the round before${one.accepted ? "; the statistics accept it" : ""}.`;
  $("note").value = said?.note ?? "";
  for (const button of document.querySelectorAll("[data-decision]")) {
    button.disabled = !one?.prefix;
    if (button.dataset.decision) button.setAttribute("aria-pressed", String(said?.decision === button.dataset.decision));
  }
  clearTimeout(detail.timer);
  $("samples").replaceChildren();
  if (one?.prefix) detail.timer = setTimeout(failing(() => show(one.prefix)), 120);
}

async function show(prefix) {
  const key = `${target} ${prefix}`;
  $("samples").setAttribute("aria-busy", "true");
  if (!samples.has(key)) samples.set(key, await query("samples", { target, prefix }));
  if (items[chosen]?.prefix !== prefix) return;
  const found = samples.get(key);
  const [low, middle, high] = found.quartiles.map((value) => value.toFixed(2)).reverse();
  const head = element("p", found.pages ? `${number(found.pages)} pages; scores: half of them between ${low} and ${high}, median ${middle}.` : "No scored page under this path.", "soft");
  $("samples").replaceChildren(head, ...found.samples.map(page));
  $("samples").setAttribute("aria-busy", "false");
}

function page(one) {
  const made = element("article");
  const title = element("h3", visible(one.title || one.url, LONGEST));
  made.append(element("span", one.score.toFixed(2), "score"), title, element("p", visible(one.url, 500), "where"));
  made.append(element("pre", one.text === null ? "(The text is not here: the pages have moved, or lie elsewhere.)" : visible(one.text)));
  made.lastChild.tabIndex = 0;
  made.lastChild.setAttribute("aria-label", "text of the page");
  return made;
}

// Deciding

// One after the other: a key that is pressed while a decision is on its way is about what comes after it.
let deciding = Promise.resolve();
const decide = (decision, stay) => (deciding = deciding.then(() => decideOne(decision, stay)));
const decideOne = failing(async (decision, stay = false) => {
  const one = items[chosen];
  if (!one?.prefix) return;
  const before = decided(one.prefix);
  const note = $("note").value;
  try {
    take(await ask("decide", { target, prefix: one.prefix, decision: decision || null, note, was: before?.decision ?? null }));
  } catch (error) {
    if (error.status === 409) {
      // Somebody else decided: show what is in the file now.
      take(await ask("start"));
      await fill();
    }
    throw error;
  }
  const verb = { accept: "Accepted", reject: "Rejected", skip: "Skipped" }[decision] ?? "Cleared";
  say(`${verb} ${one.prefix}`);
  mark(one.prefix);
  if (!stay && decision) {
    const next = items.findIndex((other, place) => place > chosen && other.prefix && !decided(other.prefix));
    if (next >= 0) choose(next);
    else detail(one);
  } else detail(one);
});

const undo = () => (deciding = deciding.then(undoOne));
const undoOne = failing(async () => {
  const found = await ask("undo", {});
  take(found);
  const [where, prefix] = found.changed;
  if (where !== target) await turnTo(where);
  say(`Undone: ${prefix}`);
  if (view === "decided") await fill();
  mark(prefix);
  const place = items.findIndex((one) => one.prefix === prefix);
  if (place >= 0) choose(place);
});

function take(found) {
  facts.decisions = found.decisions;
  facts.conflicts = found.conflicts;
  facts.undo = found.undo;
}

function mark(prefix) {
  items.forEach((one, place) => {
    if (one.prefix !== prefix) return;
    const fresh = line(one, place);
    const old = $("list").children[place];
    fresh.setAttribute("aria-selected", old.getAttribute("aria-selected"));
    fresh.tabIndex = old.tabIndex;
    old.replaceWith(fresh);
    if (place === chosen) fresh.focus({ preventScroll: true });
  });
  progress();
}

// Moving about

const openOrClose = failing(async (place, wanted) => {
  const one = items[place];
  if (one?.open === undefined || one.open === wanted) return;
  if (one.open) trees.delete(one.domain);
  else trees.set(one.domain, await query("tree", { target, domain: one.domain }));
  await fill();
  $("list").children[chosen]?.focus({ preventScroll: true });
});

const turn = failing(async (wanted) => {
  view = wanted;
  chosen = -1;
  items = [];
  await fill();
  $("list").children[chosen]?.focus({ preventScroll: true });
});

async function turnTo(wanted) {
  target = wanted;
  $("target").value = target;
  trees.clear();
  progress.suggested = await query("suggestions", { target });
  await fill();
}

function closeOrUp() {
  const one = items[chosen];
  if (one?.open) return openOrClose(chosen, false);
  for (let place = chosen - 1; place >= 0; place--) if (items[place].level < one?.level) return choose(place);
}

const KEYS = {
  j: () => choose(Math.min(chosen + 1, items.length - 1)), ArrowDown: () => KEYS.j(),
  k: () => choose(Math.max(chosen - 1, 0)), ArrowUp: () => KEYS.k(),
  Home: () => choose(0), End: () => choose(items.length - 1),
  ArrowRight: () => openOrClose(chosen, true), ArrowLeft: closeOrUp, Enter: () => openOrClose(chosen),
  a: () => decide("accept"), r: () => decide("reject"), s: () => decide("skip"), x: () => decide(""), u: undo,
  n: () => $("note").focus(), "/": () => $("search").focus(), "?": () => $("help").showModal(),
  1: () => turn("suggested"), 2: () => turn("domains"), 3: () => turn("decided"),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (event.target.matches("input, select, textarea")) {
    if (event.key === "Escape" || (event.key === "Enter" && event.target.id !== "note")) {
      event.preventDefault();
      $("list").children[Math.max(chosen, 0)]?.focus();
    } else if (event.key === "Enter" && items[chosen]) {
      event.preventDefault();
      decide(decided(items[chosen].prefix)?.decision ?? "skip", true);
    }
    return;
  }
  // Space and Enter on a button are the button's own.
  if (event.target.matches("button") && event.key === "Enter") return;
  if (event.target.matches("pre") && event.key.startsWith("Arrow")) return;
  const act = KEYS[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});
$("search").addEventListener("input", failing(fill));
$("target").addEventListener("change", failing(() => turnTo($("target").value)));
$("undo").addEventListener("click", undo);
$("help-button").addEventListener("click", () => $("help").showModal());
for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", () => turn(button.dataset.view));
for (const button of document.querySelectorAll("[data-decision]")) button.addEventListener("click", () => decide(button.dataset.decision));

failing(async () => {
  facts = await ask("start");
  if (!facts.targets.length) throw new Error("No domain of this round has a collected page: there is nothing to decide.");
  $("what").textContent = visible(`round ${facts.round} of ${facts.work}${facts.reviewer ? ` · ${facts.reviewer}` : ""}`, LONGEST);
  $("next").textContent = visible(`Decisions are in ${facts.file}. ${facts.next_step}`, 1000);
  $("target").replaceChildren(...facts.targets.map((one) => new Option(visible(one.target, LONGEST), one.target)));
  document.querySelector(".target").hidden = facts.targets.length < 2;
  target = facts.targets[0].target;
  progress.suggested = await query("suggestions", { target });
  if (facts.conflicts.length) view = "conflicts";
  else if (!progress.suggested.length) view = "domains";
  await fill();
  $("list").children[chosen]?.focus({ preventScroll: true });
})();

// The page on which people rank pictures. What is on it is drawn from `state` alone; every answer is saved by the
// server before the next question is shown.
const words = {
  en: await (await fetch("en.json")).json(),
  zh: await (await fetch("zh.json")).json(),
};
// Milliseconds that a finger rests on a picture before it takes it along.
const HOLD = 300;
const find = (name) => document.getElementById(name);
const state = {
  language: localStorage.getItem("language") ?? (navigator.language.startsWith("zh") ? "zh" : "en"),
  name: "",
  question: null, // { aspect, number, prompt, pictures }
  progress: null, // { done, all, aspect: { done, all } }
  places: [], // lists of picture numbers, best first
  tied: false, // whether the next picture shares the last place
  said: "",
  busy: false,
};

function say(word, values = {}) {
  return words[state.language][word].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

const placed = () => state.places.flat();
const rest = () =>
  state.question.pictures.map((_, number) => number).filter((number) => !placed().includes(number));

function place(number) {
  take(number);
  if (state.tied && state.places.length) state.places.at(-1).push(number);
  else state.places.push([number]);
  state.tied = false;
  draw();
}

function take(number) {
  state.places = state.places
    .map((group) => group.filter((one) => one !== number))
    .filter((group) => group.length);
}

// Put a picture into place `at`, a tie with who is there, or into a new one before that.
function move(number, at, into) {
  const others = (groups) => groups.flat().find((one) => one !== number);
  const other = into ? others([state.places[at]]) : others(state.places.slice(at));
  if (into && other === undefined) return;
  take(number);
  const index = state.places.findIndex((group) => group.includes(other));
  if (into) state.places[index].push(number);
  else state.places.splice(other === undefined ? state.places.length : index, 0, [number]);
  draw();
}

function card(number) {
  const at = state.places.findIndex((group) => group.includes(number));
  const button = document.createElement("button");
  button.type = "button";
  button.className = "card";
  button.dataset.number = number;
  const label = say(at < 0 ? "unplaced" : "placed", { number: number + 1, place: at + 1 });
  button.setAttribute("aria-label", label);
  const image = document.createElement("img");
  image.src = state.question.pictures[number];
  image.alt = say("picture", { number: number + 1 });
  image.draggable = false;
  const badge = document.createElement("span");
  badge.className = at < 0 ? "badge" : "badge at";
  badge.textContent = at < 0 ? number + 1 : at + 1;
  button.append(image, badge);
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  button.addEventListener("pointerdown", (event) => drag(event, button, number));
  // Keys and screen readers; pointers are dealt with where they are let go.
  button.addEventListener("click", (event) => {
    if (event.detail === 0) press(number);
  });
  return button;
}

function press(number) {
  if (placed().includes(number)) {
    take(number);
    draw();
  } else place(number);
}

// A mouse drags at once; a finger scrolls the page unless it has rested on the picture for a moment.
function drag(event, button, number) {
  if (event.button) return;
  const touch = event.pointerType === "touch";
  const start = [event.clientX, event.clientY];
  let holding = !touch;
  let ghost = null;
  let over = null;
  const timer = setTimeout(() => {
    holding = true;
    if (touch) lift();
  }, HOLD);
  const lift = () => {
    ghost = button.querySelector("img").cloneNode();
    ghost.id = "ghost";
    ghost.style.left = `${start[0] - 60}px`;
    ghost.style.top = `${start[1] - 60}px`;
    document.body.append(ghost);
    button.classList.add("moving");
  };
  const still = (touching) => {
    if (ghost) touching.preventDefault();
  };
  const moved = (now) => {
    const far = Math.hypot(now.clientX - start[0], now.clientY - start[1]) >= 8;
    if (!ghost && far && !holding) return end(null);
    if (!ghost && far) lift();
    if (!ghost) return;
    ghost.style.left = `${now.clientX - 60}px`;
    ghost.style.top = `${now.clientY - 60}px`;
    over?.classList.remove("over");
    over =
      document.elementFromPoint(now.clientX, now.clientY)?.closest(".gap, .place, #order, #rest") ?? null;
    over?.classList.add("over");
    // Near an edge the page goes on, since who holds a picture cannot scroll it.
    const edge = now.clientY < 60 ? -14 : now.clientY > innerHeight - 60 ? 14 : 0;
    if (edge) scrollBy(0, edge);
  };
  const end = (now) => {
    clearTimeout(timer);
    button.removeEventListener("pointermove", moved);
    button.removeEventListener("pointerup", end);
    button.removeEventListener("pointercancel", end);
    document.removeEventListener("touchmove", still);
    ghost?.remove();
    button.classList.remove("moving");
    over?.classList.remove("over");
    if (now?.type !== "pointerup") return;
    // Enter is to save, and not to press this card again.
    button.blur();
    if (!ghost) press(number);
    else if (over?.id === "rest") {
      take(number);
      draw();
    } else if (over?.id === "order") move(number, state.places.length, false);
    else if (over) move(number, Number(over.dataset.at), over.classList.contains("place"));
  };
  if (!touch) button.setPointerCapture(event.pointerId);
  button.addEventListener("pointermove", moved);
  button.addEventListener("pointerup", end);
  button.addEventListener("pointercancel", end);
  document.addEventListener("touchmove", still, { passive: false });
}

function gap(at) {
  const between = document.createElement("div");
  between.className = "gap";
  between.dataset.at = at;
  return between;
}

function draw() {
  document.documentElement.lang = state.language === "zh" ? "zh-CN" : "en";
  for (const one of document.querySelectorAll("[data-word]")) one.textContent = say(one.dataset.word);
  for (const one of document.querySelectorAll("[data-word-label]")) {
    one.setAttribute("aria-label", say(one.dataset.wordLabel));
  }
  document.title = say("title");
  find("language").textContent = say("language");
  find("who").hidden = state.name !== "";
  find("ranking").hidden = !state.question;
  find("done").hidden = !(state.name && state.progress && !state.question);
  find("progress").textContent = state.progress ? say("progress", state.progress) : "";
  if (state.question) drawQuestion();
}

function drawQuestion() {
  const { aspect, prompt } = state.question;
  find("aspect").textContent = say("aspect", { aspect: say(aspect), ...state.progress.aspect });
  find("ask").textContent = say(`${aspect}Ask`);
  find("prompt").textContent = prompt;
  const groups = state.places.map((group, at) => {
    const section = document.createElement("div");
    section.className = "place";
    section.dataset.at = at;
    section.append(...group.map(card));
    return section;
  });
  const focused = document.activeElement?.dataset?.number;
  find("order").replaceChildren(...groups.flatMap((group, at) => [gap(at), group]), gap(groups.length));
  find("rest").replaceChildren(...rest().map(card));
  if (focused) document.querySelector(`.card[data-number="${focused}"]`)?.focus();
  const open = rest().length;
  find("save").disabled = state.busy || open > 0;
  find("cannot").disabled = state.busy;
  find("clear").disabled = state.places.length === 0;
  find("tie").disabled = state.places.length === 0 || open === 0;
  find("tie").setAttribute("aria-pressed", String(state.tied));
  find("said").textContent = state.said || (open ? say("more", { count: open }) : say("ready"));
}

async function ask(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ annotator: state.name, ...body }),
  });
  const found = await response.json();
  if (!response.ok) throw new Error(found.error);
  return found;
}

function show(found) {
  state.question = found.question;
  state.progress = found.progress;
  state.places = (found.question?.places ?? []).map((group) => [...group]);
  state.tied = false;
  draw();
}

async function send(path, body = {}) {
  if (state.busy) return;
  state.busy = true;
  find("fault").hidden = true;
  try {
    const found = await ask(path, body);
    state.busy = false;
    state.said = path === "undo" ? say(found.undone ? "undone" : "nothingToUndo") : "";
    if (path !== "undo" || found.undone) show(found);
    else draw();
    scrollTo(0, 0);
  } catch (error) {
    state.busy = false;
    find("fault").textContent = say(path === "answer" ? "lost" : "refused", { reason: error.message });
    find("fault").hidden = false;
    draw();
  }
}

function save(places) {
  const { aspect, number } = state.question;
  return send("answer", { aspect, number, places });
}

find("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  state.name = find("name").value.trim();
  if (!state.name) return;
  localStorage.setItem("name", state.name);
  // Without a first question the form is what is left to go on from.
  send("next").then(() => {
    if (!state.progress) state.name = "";
    draw();
  });
});
find("language").addEventListener("click", () => {
  state.language = state.language === "zh" ? "en" : "zh";
  localStorage.setItem("language", state.language);
  state.said = "";
  draw();
});
find("save").addEventListener("click", () => save(state.places));
find("cannot").addEventListener("click", () => save([]));
find("undo").addEventListener("click", () => send("undo"));
find("undo-last").addEventListener("click", () => send("undo"));
find("tie").addEventListener("click", () => {
  state.tied = !state.tied;
  draw();
});
find("clear").addEventListener("click", () => {
  state.places = [];
  draw();
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.key.toLowerCase() === "u" && state.progress) return void send("undo");
  if (!state.question) return;
  const number = Number(event.key) - 1;
  if (event.key === "0") save([]);
  else if (number >= 0 && number < state.question.pictures.length) {
    if (!placed().includes(number)) place(number);
  } else if (event.key === "=") {
    if (!find("tie").disabled) find("tie").click();
  } else if (event.key === "Backspace") {
    const last = placed().at(-1);
    if (last !== undefined) take(last);
    draw();
  } else if (event.key === "Enter" && !event.target.matches("button")) {
    if (!find("save").disabled) save(state.places);
  } else return;
  event.preventDefault();
});

find("name").value = localStorage.getItem("name") ?? "";
draw();
find("name").focus();

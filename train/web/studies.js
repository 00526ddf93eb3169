
const QUESTIONS = {
  "real or synthetic": {
    text: "Is this patch real tissue, or synthetic?",
    views: [["plain", "", "Patch"]],
    answers: [["real", "Real (1)", "1"], ["synthetic", "Synthetic (2)", "2"]],
  },
  "a or b": {
    text: "Which outlines of nuclei are better: most right, fewest wrong and missed?",
    views: [["left", "Left", "Outlines on the left"], ["right", "Right", "Outlines on the right"]],
    answers: [["left", "Left is better (1)", "1"], ["alike", "Alike (2)", "2"], ["right", "Right is better (3)", "3"]],
  },
};
const reading = { study: null, reader: null, item: null, begun: 0, busy: false, bare: false };
const path = (rest) => `/api/studies/${encodeURIComponent(reading.study)}/${rest}`;

async function shownItem(next) {
  const { text, views, answers } = QUESTIONS[next.question];
  at("reader").hidden = at("finished").hidden = true;
  at("reading").hidden = next.item === null;
  at("question").textContent = text;
  Object.assign(at("progress"), { max: next.total, value: next.done });
  at("done").textContent = `${next.done} of ${next.total}`;
  at("bare").hidden = views.length === 1;
  reading.item = next.item;
  if (next.item === null) {
    at("finished").hidden = false;
    at("result").textContent = (await get(path(`result?reader=${encodeURIComponent(reading.reader)}`))).text;
    return;
  }
  at("choices").replaceChildren(...answers.map(([answer, label]) => {
    const button = made("button", { type: "button", class: "answer" }, label);
    button.addEventListener("click", () => attempt(() => answered(answer)));
    return button;
  }));
  reading.bare = false;
  await pictures(views);
  reading.begun = performance.now();
}

async function pictures(views) {
  at("bare").textContent = reading.bare ? "Show outlines (O)" : "Hide outlines (O)";
  const shown = views.map(([name, caption, text]) => {
    const which = reading.bare ? "plain" : name;
    const address = path(`pictures/${reading.item}/${which}?reader=${encodeURIComponent(reading.reader)}`);
    const image = made("img", { src: address, alt: text });
    return made("figure", {}, image, ...(caption ? [made("figcaption", {}, caption)] : []));
  });
  await Promise.all(shown.map((figure) => figure.firstChild.decode().catch(() => {})));
  at("pictures").replaceChildren(...shown);
}

// One thing at a time: a key that is held, or pressed twice, answers once.
async function alone(action) {
  if (reading.busy) return;
  const busy = (state) => { reading.busy = state; at("pictures").setAttribute("aria-busy", state); };
  busy(true);
  try { await action(); } finally { busy(false); }
}

const answered = (answer) => alone(async () => {
  const { reader, item } = reading;
  const seconds = (performance.now() - reading.begun) / 1000;
  await shownItem(await post(path("answers"), { reader, item, answer, seconds }));
});
const taken = () => alone(async () => shownItem(await post(path("back"), { reader: reading.reader })));
const turned = () => alone(async () => {
  reading.bare = !reading.bare;
  await pictures(QUESTIONS["a or b"].views);
});

async function begin(study, reader) {
  Object.assign(reading, { study, reader });
  const next = await get(path(`next?reader=${encodeURIComponent(reader)}`));
  sessionStorage.setItem("reading", JSON.stringify({ study, reader }));
  await shownItem(next);
  at("question").focus();
}

function leave() {
  sessionStorage.removeItem("reading");
  at("reading").hidden = at("finished").hidden = true;
  at("reader").hidden = false;
  at("study").focus();
}

at("reader").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(() => begin(at("study").value, at("name").value.trim()));
});
at("back").addEventListener("click", () => attempt(taken));
at("bare").addEventListener("click", () => attempt(turned));
at("leave").addEventListener("click", leave);
document.addEventListener("keydown", (event) => {
  if (!visible("studies") || !visible("reading") || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "Backspace") { event.preventDefault(); attempt(taken); }
  if (event.key.toLowerCase() === "o" && visible("bare")) attempt(turned);
  if (/^[1-3]$/.test(event.key)) at("choices").children[Number(event.key) - 1]?.click();
});
document.addEventListener("shown", ({ detail }) => {
  if (detail !== "studies") return;
  attempt(async () => {
    const found = await get("/api/studies");
    at("study").replaceChildren(...found.map(({ name, question, items }) => made("option", { value: name }, `${name} (${question}, ${items})`)));
    if (!found.length) tell("There is no study here yet: train.study makes one.");
    const kept = JSON.parse(sessionStorage.getItem("reading") ?? "null");
    if (kept && reading.study === null && found.some(({ name }) => name === kept.study)) await begin(kept.study, kept.reader);
  });
});

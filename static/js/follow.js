// The end of the conversation stays in sight while it grows, until the reader scrolls up: that always wins.
const scroll = document.getElementById("scroll"), log = document.getElementById("log");
const latest = document.getElementById("latest");
const NEAR_PX = 64, HOLD_MS = 400;

if (scroll) {
  let follows = true, top = 0, height = 0;
  const gap = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight;

  // What is held stays where the reader has it, whatever is put in above it. Messages off the screen get their true
  // height only when they are drawn, so it is put right again for a moment.
  let held = null, release = 0;
  const hold = (find, at) => {
    held = { find, at };
    follows = false;
    clearTimeout(release);
    release = setTimeout(() => {
      if (!held) return;
      held = null;
      follows = gap() < NEAR_PX;
    }, HOLD_MS);
    putRight();
  };
  const putRight = () => {
    const element = held.find();
    if (element) scroll.scrollTop += element.getBoundingClientRect().top - held.at;
  };

  const go = () => {
    if (held) putRight();
    // Don't scroll while a message is being edited.
    else if (follows && !log.querySelector("textarea:focus")) scroll.scrollTop = scroll.scrollHeight;
    latest.hidden = follows || gap() < NEAR_PX;
  };
  const begin = () => { follows = true; held = null; go(); };

  // Scroll events come a frame late, when a table has already grown below: only a smaller scrollTop is the reader's doing.
  scroll.addEventListener("scroll", () => {
    if (!held) {
      if (scroll.scrollTop < top - 2 && scroll.scrollHeight >= height) follows = false;
      else if (gap() < NEAR_PX && scroll.scrollTop > top) follows = true;
    }
    // During load scrollTop is 0; ignore it.
    const earlier = !follows && !held && scroll.scrollTop < NEAR_PX && log.querySelector(".earlier a:not([data-asked])");
    if (earlier && window.htmx) {
      earlier.dataset.asked = "";
      earlier.click();
    }
    top = scroll.scrollTop;
    height = scroll.scrollHeight;
    latest.hidden = follows || gap() < NEAR_PX;
  }, { passive: true });
  for (const kind of ["wheel", "touchmove", "keydown", "pointerdown"])
    scroll.addEventListener(kind, event => {
      held = null;
      if (kind === "wheel" && event.deltaY < 0 && scroll.scrollTop > 0) follows = false;
    }, { passive: true });

  // A selection means that the reader is reading there.
  document.addEventListener("selectionchange", () => {
    const selection = getSelection();
    if (selection.type === "Range" && log.contains(selection.anchorNode)) follows = false;
  });

  new ResizeObserver(go).observe(log);
  new ResizeObserver(go).observe(scroll);
  latest.addEventListener("click", () => {
    // The button goes, and the keyboard reads on.
    scroll.focus({ preventScroll: true });
    begin();
  });

  const topOf = element => element.getBoundingClientRect().top;
  // The address names a message: show that one.
  const asked = location.hash && document.getElementById(location.hash.slice(1));
  if (asked && log.contains(asked)) {
    asked.scrollIntoView();
    hold(() => asked, topOf(asked));
  } else begin();

  // Keep the summary in place when something is unfolded.
  log.addEventListener("click", ({ target }) => {
    const summary = target.closest("summary");
    if (summary) hold(() => summary, topOf(summary));
  });
  // What fits is shown whole.
  log.addEventListener("toggle", ({ target }) => {
    if (!target.open || held?.find() !== target.firstElementChild) return;
    const over = target.lastElementChild.getBoundingClientRect().bottom - scroll.getBoundingClientRect().bottom + 16;
    if (over > 0 && over < held.at - topOf(scroll)) {
      held.at -= over;
      putRight();
    }
  }, true);

  const stays = ctx => ctx.sourceElement?.closest?.("[data-stay]");
  let anchor = null;
  document.addEventListener("htmx:before:request", ({ detail: { ctx } }) => { if (ctx.target === log && !stays(ctx)) begin(); });
  document.addEventListener("htmx:before:swap", ({ detail: { ctx } }) => {
    if (ctx.reader) {
      const { id } = ctx.reader;
      anchor = { find: () => document.getElementById(id), at: topOf(ctx.reader) };
    } else if (ctx.target === log && stays(ctx)) {
      // Another version of a message: the button that was pressed.
      const { id } = ctx.sourceElement;
      anchor = { find: () => document.getElementById(id), at: topOf(ctx.sourceElement), button: true };
    } else if (ctx.target?.matches?.(".earlier")) {
      // Earlier messages: the first that was shown before.
      const first = ctx.target.nextElementSibling;
      if (first) anchor = { find: () => first, at: topOf(first) };
    }
  });
  document.addEventListener("htmx:after:swap", () => {
    if (!anchor) return;
    const { find, at, button } = anchor, element = find();
    anchor = null;
    hold(find, at);
    if (button && element) (element.disabled ? element.form.querySelector("button:enabled") : element)?.focus({ preventScroll: true });
  });

  // Back in this tab, show what was said in another one, unless a message is being sent or edited.
  const lastId = () => [...log.querySelectorAll(".turn > [id]")].pop()?.id.slice(1) ?? "";
  const isBusy = () => log.querySelector("[data-open], textarea") || document.querySelector("#composer.htmx-request");
  document.addEventListener("htmx:config:request", ({ detail: { ctx } }) => { if (ctx.sourceElement.id === "composer") ctx.request.headers["X-Seen"] = lastId(); });
  let asks = false, isGone = false;
  const comeBack = async () => {
    if (asks || isGone || document.hidden || isBusy() || !/^\/chats\/[0-9a-f-]{36}$/.test(location.pathname)) return;
    const edge = topOf(scroll), seen = lastId();
    const reader = follows ? null : [...log.querySelectorAll(".turn > [id]")].find(each => each.getBoundingClientRect().bottom > edge);
    asks = true;
    try {
      const headers = { "HX-Request": "true", "HX-Current-URL": location.href, "X-Listed": document.getElementById("chats").dataset.listed ?? "" };
      const answer = await fetch(`${location.pathname}/news?seen=${seen}&at=${reader?.id.slice(1) ?? ""}`, { headers });
      if (answer.status === 404) {
        document.dispatchEvent(new CustomEvent("say", { detail: document.getElementById("toast").dataset.gone }));
        isGone = true;
      }
      const text = answer.status === 200 && await answer.text();
      if (text && !isBusy() && lastId() === seen) await htmx.swap({ text, target: log, swap: "innerHTML", sourceElement: log, reader });
    } catch {
      // Without a network the page stays as it is; the line below says so.
    } finally {
      asks = false;
    }
  };
  document.addEventListener("visibilitychange", comeBack);
  addEventListener("focus", comeBack);
  addEventListener("pageshow", event => { if (event.persisted) comeBack(); });
}

// Keeps the end of a growing conversation in view until the reader scrolls up, which always wins.
// A "stay" event names an element to hold in place; data-follows tells the other scripts.
const scroll = document.getElementById("scroll"), log = document.getElementById("log");
const latest = document.getElementById("latest");
const NEAR_PX = 64, HOLD_MS = 400;
let top = 0, height = 0;

const gap = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight;
const topOf = element => element.getBoundingClientRect().top;
const follows = () => "follows" in scroll.dataset;
const follow = does => scroll.toggleAttribute("data-follows", does);
const showLatest = () => { latest.hidden = follows() || gap() < NEAR_PX; };

// Holds an element in place while content is inserted above it. Messages off the screen get their true height only
// when they are drawn, so keep correcting for a moment.
let held = null, release = 0;
function hold(place) {
  held = place;
  follow(false);
  clearTimeout(release);
  release = setTimeout(letGo, HOLD_MS);
  putRight();
}
function letGo() {
  if (!held) return;
  held = null;
  follow(gap() < NEAR_PX);
}
function putRight() {
  const element = held.find();
  if (element) scroll.scrollTop += topOf(element) - held.at;
}

function go() {
  if (held) putRight();
  // Don't scroll while a message is being edited.
  else if (follows() && !log.querySelector("textarea:focus")) scroll.scrollTop = scroll.scrollHeight;
  showLatest();
}
function begin() {
  follow(true);
  held = null;
  go();
}

// Scroll events arrive a frame late, after content below has grown. Only a smaller scrollTop comes from the reader.
function takeSides() {
  if (held) return;
  if (scroll.scrollTop < top - 2 && scroll.scrollHeight >= height) follow(false);
  else if (gap() < NEAR_PX && scroll.scrollTop > top) follow(true);
}
function loadEarlier() {
  // During load scrollTop is 0; ignore it.
  if (follows() || held || scroll.scrollTop >= NEAR_PX || !window.htmx) return;
  const earlier = log.querySelector(".earlier a:not([data-asked])");
  if (!earlier) return;
  earlier.dataset.asked = "";
  earlier.click();
}
function scrolled() {
  takeSides();
  loadEarlier();
  top = scroll.scrollTop;
  height = scroll.scrollHeight;
  showLatest();
}
function readerMoves({ type, deltaY }) {
  held = null;
  if (type === "wheel" && deltaY < 0 && scroll.scrollTop > 0) follow(false);
}
// A selection means the reader is reading there.
function readerSelects() {
  const selection = getSelection();
  if (selection.type === "Range" && log.contains(selection.anchorNode)) follow(false);
}
function toLatest() {
  // The button disappears; keep the keyboard in the conversation.
  scroll.focus({ preventScroll: true });
  begin();
}
// Show all of what was unfolded, if it fits.
function showUnfolded({ target }) {
  if (!target.open || held?.find() !== target.firstElementChild) return;
  const over = target.lastElementChild.getBoundingClientRect().bottom - scroll.getBoundingClientRect().bottom + 16;
  if (over <= 0 || over >= held.at - topOf(scroll)) return;
  held.at -= over;
  putRight();
}
function open() {
  // Show the message that the URL names.
  const asked = location.hash && document.getElementById(location.hash.slice(1));
  if (!asked || !log.contains(asked)) return begin();
  asked.scrollIntoView();
  hold({ find: () => asked, at: topOf(asked) });
}

if (scroll) {
  scroll.addEventListener("scroll", scrolled, { passive: true });
  for (const kind of ["wheel", "touchmove", "keydown", "pointerdown"])
    scroll.addEventListener(kind, readerMoves, { passive: true });
  document.addEventListener("selectionchange", readerSelects);
  new ResizeObserver(go).observe(log);
  new ResizeObserver(go).observe(scroll);
  latest.addEventListener("click", toLatest);
  log.addEventListener("stay", ({ detail }) => hold(detail));
  log.addEventListener("follow", begin);
  log.addEventListener("toggle", showUnfolded, true);
  open();
}

// The end of the conversation stays in sight while it grows, until the reader scrolls up: that always wins.
const scroll = document.getElementById("scroll"), log = document.getElementById("log");
const latest = document.getElementById("latest");
const NEAR_PX = 64;

if (scroll) {
  let follows = true, top = 0, height = 0;
  const gap = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight;
  const go = () => {
    if (follows) scroll.scrollTop = scroll.scrollHeight;
    latest.hidden = follows || gap() < NEAR_PX;
  };
  const begin = () => { follows = true; go(); };

  // Scroll events come a frame late, when a table has already grown below: only a smaller scrollTop is the reader's doing.
  scroll.addEventListener("scroll", () => {
    if (gap() < NEAR_PX) follows = true;
    else if (scroll.scrollTop < top - 2 && scroll.scrollHeight >= height) follows = false;
    top = scroll.scrollTop;
    height = scroll.scrollHeight;
    latest.hidden = follows || gap() < NEAR_PX;
  }, { passive: true });
  scroll.addEventListener("wheel", event => { if (event.deltaY < 0 && scroll.scrollTop > 0) follows = false; }, { passive: true });

  new ResizeObserver(go).observe(log);
  new ResizeObserver(go).observe(scroll);
  latest.addEventListener("click", begin);
  document.addEventListener("htmx:before:request", ({ detail: { ctx } }) => { if (ctx.target === log) begin(); });
  begin();
}

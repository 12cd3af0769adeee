// A number opens a note that says where it comes from; without this script it is a link to the list.
(() => {
  const note = document.getElementById("quote");
  const contents = document.getElementById("contents");
  let asker = null;

  const narrow = window.matchMedia("(max-width: 70rem)");
  const fit = () => { contents.open = !narrow.matches; };
  narrow.addEventListener("change", fit);
  fit();

  function place(anchor) {
    const box = anchor.getBoundingClientRect();
    const edge = 12;
    const left = Math.min(box.left, window.innerWidth - note.offsetWidth - edge);
    note.style.left = `${Math.max(edge, left)}px`;
    const below = box.bottom + 6;
    const fits = below + note.offsetHeight < window.innerHeight;
    note.style.top = `${fits ? below : Math.max(edge, box.top - note.offsetHeight - 6)}px`;
  }

  function tell(anchor, row) {
    const labels = ["Number", "Exact value", "File", "Notebook"];
    const list = document.createElement("dl");
    [...row.cells].forEach((cell, i) => {
      const term = document.createElement("dt");
      term.textContent = labels[i];
      const said = document.createElement("dd");
      cell.childNodes.forEach((child) => said.append(child.cloneNode(true)));
      list.append(term, said);
    });
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "Close";
    close.addEventListener("click", () => note.hidePopover());
    note.replaceChildren(list, close);
    asker = anchor;
    note.showPopover();
    place(anchor);
    (note.querySelector("a") || close).focus({ preventScroll: true });
  }

  if (note.showPopover) {
    document.addEventListener("click", (event) => {
      const anchor = event.target.closest("a.q");
      if (!anchor || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      tell(anchor, document.querySelector(anchor.hash));
    });
    note.addEventListener("toggle", (event) => {
      if (event.newState === "closed" && asker) {
        if (note.contains(document.activeElement) || document.activeElement === document.body) {
          asker.focus({ preventScroll: true });
        }
        asker = null;
      }
    });
    window.addEventListener("scroll", () => { if (asker) place(asker); }, { passive: true });
  }

  // A link into a folded part opens it.
  function unfold() {
    const target = window.location.hash && document.getElementById(window.location.hash.slice(1));
    const folded = target && target.closest("details:not([open])");
    if (folded) { folded.open = true; target.scrollIntoView(); }
  }
  window.addEventListener("hashchange", unfold);
  unfold();

  // The contents say where the reader is.
  const links = new Map([...contents.querySelectorAll("a")].map((a) => [a.hash.slice(1), a]));
  const watched = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
  const seen = () => {
    const passed = watched.filter((part) => part.getBoundingClientRect().top < 160);
    links.forEach((link) => link.removeAttribute("aria-current"));
    if (passed.length) links.get(passed[passed.length - 1].id).setAttribute("aria-current", "true");
  };
  window.addEventListener("scroll", seen, { passive: true });
  seen();

  // Tab reaches the first number of each part, the arrow keys its others.
  const group = ".answers li, .prose";
  document.querySelectorAll(group).forEach((part) => {
    [...part.querySelectorAll("a.q")].slice(1).forEach((number) => { number.tabIndex = -1; });
  });
  document.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const here = step && event.target.closest("a.q");
    const near = here ? [...here.closest(group).querySelectorAll("a.q")] : [];
    const next = near[near.indexOf(here) + step];
    if (!next) return;
    event.preventDefault();
    here.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });

  // On paper nothing can be unfolded: all is, but what stands in a figure or in a file, too.
  const opened = new Set();
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("main details:not([open], .meanings, .drawn, #all-numbers)").forEach((part) => {
      part.open = true;
      opened.add(part);
    });
  });
  window.addEventListener("afterprint", () => {
    opened.forEach((part) => { part.open = false; });
    opened.clear();
  });
})();

// Keeps the page as it is now: asks for it again every few seconds and puts in place what has changed.
"use strict";
(() => {
  const EVERY = 5000;
  const place = document.getElementById("live");
  const state = document.createElement("span");
  const button = document.createElement("button");
  let paused = false;
  let timer = 0;
  let good = Date.now();

  const say = (text) => {
    if (state.textContent !== text) state.textContent = text;
  };

  const replace = (next) => {
    for (const old of document.querySelectorAll("[data-live]")) {
      const fresh = next.getElementById(old.id);
      if (!fresh) continue;
      // What the reader has opened stays open, and what is read by keyboard or selected is left alone.
      const opened = [...old.querySelectorAll("details")].map((one) => one.open);
      fresh.querySelectorAll("details").forEach((one, index) => {
        one.open = Boolean(opened[index]);
      });
      const selected = getSelection();
      const busy = old.contains(document.activeElement)
        || (selected && !selected.isCollapsed && old.contains(selected.anchorNode));
      if (busy || fresh.isEqualNode(old)) continue;
      if (old.getAttribute("aria-live")) {
        // A live region is told of only if it stays and what is in it changes.
        old.className = fresh.className;
        old.replaceChildren(...fresh.childNodes);
      } else {
        old.replaceWith(fresh);
      }
    }
    document.title = next.title;
  };

  const ask = async () => {
    clearTimeout(timer);
    if (!paused && !document.hidden) {
      try {
        const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(15000) });
        if (!answer.ok) throw new Error(`status ${answer.status}`);
        replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
        good = Date.now();
        say("Live");
        document.body.classList.remove("lost");
      } catch (error) {
        const seconds = Math.round((Date.now() - good) / 1000);
        say(`No answer for ${seconds} s: what stands here is old. Is Seawall running?`);
        document.body.classList.add("lost");
      }
    }
    timer = setTimeout(ask, EVERY);
  };

  button.type = "button";
  button.textContent = "Pause";
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on" : "Pause";
    say(paused ? "Paused" : "Live");
    if (!paused) ask();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) ask();
  });
  state.setAttribute("role", "status");
  say("Live");
  place.replaceChildren(state, " ", button);
  timer = setTimeout(ask, EVERY);
})();

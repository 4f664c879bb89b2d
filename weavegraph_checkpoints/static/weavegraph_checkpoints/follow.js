"use strict";

// The Follow switch of a session: asks whether the session changed, and replaces the parts of the
// page. Answers are JavaScript modules, because strict content security policies allow scripts
// and no other requests.

{
    const POLL_MS = 2_000;
    const MAX_MS = 3_600_000;
    const MAX_FAILURES = 3;

    const link = document.getElementById("weave-follow");
    const status = document.getElementById("weave-follow-status");
    const button = document.createElement("button");
    let version = link.dataset.weaveVersion;
    let timer = null;
    let endsAt = 0;
    let failures = 0;
    let requests = 0;

    const isFollowing = () => timer !== null;

    function start() {
        button.setAttribute("aria-checked", "true");
        status.textContent = status.dataset.weaveOn;
        failures = 0;
        endsAt = Date.now() + MAX_MS;
        timer = setTimeout(poll);
    }

    function stop(message) {
        clearTimeout(timer);
        timer = null;
        button.setAttribute("aria-checked", "false");
        status.textContent = message;
    }

    async function poll() {
        const current = timer;
        const answer = await ask();
        if (timer !== current) {
            return; // Stopped while it asked.
        }
        if (answer) {
            version = answer.version;
            replaceParts(answer.html);
            status.textContent = answer.message;
        }
        if (answer?.is_finished) {
            stop(answer.message);
        } else if (failures >= MAX_FAILURES) {
            stop(status.dataset.weaveFailed);
        } else if (Date.now() >= endsAt) {
            stop(status.dataset.weaveExpired);
        } else {
            timer = setTimeout(poll, POLL_MS);
        }
    }

    async function ask() {
        const url = new URL(link.dataset.weaveFollow, document.baseURI);
        url.searchParams.set("known", version);
        url.searchParams.set("at", `${Date.now()}-${++requests}`); // A URL is loaded only once.
        try {
            const answer = (await import(url)).default;
            failures = 0;
            return answer;
        } catch {
            failures += 1;
            return null;
        }
    }

    function replaceParts(html) {
        const fresh = new DOMParser().parseFromString(html, "text/html");
        const keepPosition = findPosition();
        for (const part of document.querySelectorAll("[data-weave-part]")) {
            const next = fresh.querySelector(`[data-weave-part="${part.dataset.weavePart}"]`);
            const isForm = part.querySelector("input:not([type='radio'], [type='hidden'])");
            if (next && !isForm && next.innerHTML !== part.innerHTML) {
                replacePart(part, next);
            }
        }
        keepPosition();
    }

    function replacePart(part, next) {
        const focused = part.contains(document.activeElement)
            ? getSelector(document.activeElement)
            : null;
        const chosen = [...part.querySelectorAll("input[type='radio']")]
            .filter((input) => input.checked && !input.defaultChecked)
            .map(getSelector);
        const regions = [...part.querySelectorAll(".weave-scroll-region")].map(getScroll);
        part.replaceChildren(...next.childNodes);
        part.querySelectorAll(".weave-scroll-region").forEach((region, index) => {
            restoreScroll(region, regions[index]);
        });
        chosen.forEach((selector) => {
            const input = part.querySelector(selector);
            if (input) {
                input.checked = true;
            }
        });
        if (focused !== null) {
            const again = part.querySelector(focused) ?? part.querySelector("[tabindex='0']");
            again?.focus({ preventScroll: true });
        }
    }

    // Return the distances from both edges of a region. Positions count from the edge at which the
    // region begins, and are negative if it begins at its right edge.
    function getScroll(region) {
        const fromBeginning = Math.abs(region.scrollLeft);
        return { fromBeginning, fromEnd: getMaxScroll(region) - fromBeginning };
    }

    const getMaxScroll = (region) => region.scrollWidth - region.clientWidth;

    // Scroll to the same columns as before: new ones are added at the beginning of the weave, which
    // is its newest step, and it stays there.
    function restoreScroll(region, { fromBeginning, fromEnd } = { fromBeginning: 0 }) {
        const isWeave = region.matches(".weave-scroll-to-end");
        const stays = !isWeave || fromBeginning <= 2;
        const position = stays ? fromBeginning : getMaxScroll(region) - fromEnd;
        region.scrollLeft = getComputedStyle(region).direction === "rtl" ? -position : position;
    }

    // Return a selector of an element within its part.
    function getSelector(element) {
        for (const name of ["href", "aria-labelledby", "type"]) {
            const value = element.getAttribute(name);
            if (value !== null && (name !== "type" || element.tagName === "BUTTON")) {
                return `${element.tagName}[${name}="${CSS.escape(value)}"]`;
            }
        }
        return element.tagName;
    }

    // Return a function that scrolls the first visible step back to where it was.
    function findPosition() {
        const rows = [...document.querySelectorAll("[id^='weave-step-']")];
        const isVisible = ({ top }) => top >= 0 && top < window.innerHeight;
        const row = rows.find((each) => isVisible(each.getBoundingClientRect()));
        const top = row?.getBoundingClientRect().top;
        const { scrollX, scrollY } = window;
        return () => {
            const again = row && document.getElementById(row.id);
            window.scrollTo(scrollX, scrollY);
            if (again && scrollY > 0) {
                window.scrollBy(0, again.getBoundingClientRect().top - top);
            }
        };
    }

    button.type = "button";
    button.id = link.id;
    button.className = link.className;
    button.textContent = link.dataset.weaveLabel;
    button.setAttribute("role", "switch");
    button.setAttribute("aria-checked", "false");
    button.addEventListener("click", () =>
        isFollowing() ? stop(status.dataset.weaveOff) : start(),
    );
    document.addEventListener("visibilitychange", () => {
        if (document.hidden && isFollowing()) {
            stop(status.dataset.weaveHidden);
        }
    });
    link.replaceWith(button);
}

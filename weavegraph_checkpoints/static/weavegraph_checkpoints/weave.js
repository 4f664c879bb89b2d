"use strict";

// Keyboard shortcuts and the copy button. All pages work without JavaScript.

const isTyping = (target) =>
    target.isContentEditable || ["INPUT", "SELECT", "TEXTAREA"].includes(target.tagName);

function toggleHelp() {
    const help = document.getElementById("weave-keys");
    if (help) {
        help.open = !help.open;
        help.querySelector("summary").focus();
    }
}

function onKey(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) {
        return;
    }
    if (isTyping(event.target) || event.target.closest("[tabindex='0'][role='region']")) {
        return;
    }
    if (event.key === "?") {
        toggleHelp();
        return;
    }
    for (const link of document.querySelectorAll("a[data-weave-keys]")) {
        if (link.dataset.weaveKeys.split(" ").includes(event.key)) {
            event.preventDefault();
            link.click();
            return;
        }
    }
}

function offerCopy(button) {
    button.hidden = false;
    button.addEventListener("click", async () => {
        const source = document.getElementById(button.dataset.weaveCopy);
        try {
            await navigator.clipboard.writeText(source.textContent);
            button.textContent = button.dataset.weaveDone;
        } catch {
            button.hidden = true;
        }
    });
}

document.addEventListener("keydown", onKey);
if (navigator.clipboard) {
    document.querySelectorAll("button[data-weave-copy]").forEach(offerCopy);
}

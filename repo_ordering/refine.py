"""Which files share a window: greedy merging, then simulated annealing on the places of single files.

Files are numbers here. What is maximised is the number of linked pairs that share a window: inside one, nearly
every dependency can be written first, so the order of a window is left to whoever writes it.
"""

import heapq
import math
import random
from collections.abc import Sequence

# Steps of annealing: so many a file.
STEPS_A_FILE = 800
MOST_WORK = 16_000_000  # and no more than so many links looked at
HOT, COLD = 1.5, 0.12  # the loss, in pairs, that is taken with probability 1/e: at the start, at the end
SAMPLE = 3  # how many files of a full window are looked at before one is put out
MOST_OUT = 4  # how many files make room for one


def merged(sizes: Sequence[int], links: Sequence[set[int]], budget: int) -> list[list[int]]:
    """Groups of at most `budget`: the two with the most links for their joint size become one while they fit.

    Each group offers its best partner only, and looks again when that offer has gone stale, which keeps the
    heap as short as the list of groups.
    """
    weight = dict(enumerate(sizes))
    members = {number: [number] for number in weight}
    counts = {number: dict.fromkeys(sorted(links[number]), 1) for number in weight}
    heap: list[tuple[float, int, int, int]] = []

    def offer(group: int) -> None:
        room, own = budget - weight[group], weight[group]
        best, partner = 0.0, -1
        for other, count in counts[group].items():
            if weight[other] <= room:
                worth = count / (own + weight[other] + 1)
                if worth > best or (worth == best and other < partner):
                    best, partner = worth, other
        if partner >= 0:
            heapq.heappush(heap, (-best, group, partner, own + weight[partner]))

    for group in members:
        offer(group)
    while heap:
        worth, a, b, joint = heapq.heappop(heap)
        if a not in members:
            continue
        if b not in members or weight[a] + weight[b] != joint or counts[a][b] / (joint + 1) != -worth:
            offer(a)
            continue
        if len(counts[a]) < len(counts[b]):
            a, b = b, a
        members[a] += members.pop(b)
        weight[a] += weight.pop(b)
        mine = counts[a]
        for other, count in counts.pop(b).items():
            theirs = counts[other]
            del theirs[b]
            if other != a:
                mine[other] = theirs[a] = mine.get(other, 0) + count
        offer(a)
    return list(members.values())


def packed(groups: Sequence[list[int]], sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Each group, the largest first, into the first window with room, found through a tree of rooms."""
    weights = [sum(sizes[file] for file in group) for group in groups]
    windows: list[list[int]] = []
    width = 1
    while width < len(groups):
        width *= 2
    room = [budget] * (2 * width)  # a tournament: a node holds the larger room of its children
    for number in sorted(range(len(groups)), key=lambda i: (-weights[i], i)):
        node = 1
        while node < width:
            node = 2 * node if room[2 * node] >= weights[number] else 2 * node + 1
        if node - width == len(windows):
            windows.append([])
        windows[node - width] += groups[number]
        room[node] -= weights[number]
        while node > 1:
            node //= 2
            room[node] = max(room[2 * node], room[2 * node + 1])
    return windows


def fewer(
    windows: list[list[int]], sizes: Sequence[int], links: Sequence[set[int]], budget: int, most: int
) -> list[list[int]]:
    """At most `most` windows where the files fit: those that hold least together are dealt out to the others."""
    if len(windows) <= most:
        return windows
    held = [sum(len(links[file].intersection(window)) for file in window) for window in windows]
    ranked = sorted(range(len(windows)), key=lambda i: (-held[i], i))
    kept = [windows[i] for i in ranked[:most]]
    loose = [[file] for i in ranked[most:] for file in windows[i]]
    return packed([*kept, *loose], sizes, budget)


def annealed(
    windows: list[list[int]], sizes: Sequence[int], links: Sequence[set[int]], budget: int, seed: int
) -> list[list[int]]:
    """No more windows, with more linked pairs inside; empty ones may be given, to have room to move in.

    A step takes a file to the window of one it is linked to; where that is full, files of few links there make
    room and go where the first came from, or to a window of their own links. A step that loses pairs is taken
    with a probability that falls as the search cools. Steps are counted, not timed: the result is the same on
    every machine.
    """
    draw = random.Random(seed).random
    where = [0] * len(sizes)
    nth = [0] * len(sizes)  # a file's place in the list of its window
    listed = [list(window) for window in windows]
    for number, window in enumerate(windows):
        for i, file in enumerate(window):
            where[file], nth[file] = number, i
    inside = [set(window) for window in windows]
    room = [budget - sum(sizes[file] for file in window) for window in windows]
    around = [sorted(linked) for linked in links]
    movable = sorted(file for window in windows for file in window if links[file])
    if len(windows) < 2 or not movable:
        return [window for window in windows if window]
    degree = sum(len(links[file]) for file in movable) / len(movable)
    steps = min(STEPS_A_FILE * len(movable), int(MOST_WORK / (10 + degree)))
    # A search too short to find its way back from disorder starts as cold as it ends.
    heat = max(COLD, HOT * steps / (STEPS_A_FILE * len(movable)))
    cooling = (COLD / heat) ** (1 / steps)
    won = 0

    def move(file: int, goal: int) -> None:
        start = where[file]
        inside[start].remove(file)
        inside[goal].add(file)
        last = listed[start].pop()
        if last != file:
            listed[start][nth[file]] = last
            nth[last] = nth[file]
        nth[file] = len(listed[goal])
        listed[goal].append(file)
        room[start] += sizes[file]
        room[goal] -= sizes[file]
        where[file] = goal

    for _ in range(steps):
        heat *= cooling
        file = movable[int(draw() * len(movable))]
        near = around[file]
        goal, start = where[near[int(draw() * len(near))]], where[file]
        if goal == start:
            continue
        linked = links[file]
        gain = len(linked & inside[goal]) - len(linked & inside[start])
        log = [(file, start)]
        move(file, goal)
        while room[goal] < 0 and len(log) <= MOST_OUT:
            there = listed[goal]
            least, out = math.inf, -1
            for _ in range(SAMPLE):
                other = there[int(draw() * len(there))]
                if other != file:
                    count = len(links[other] & inside[goal])
                    if count < least:
                        least, out = count, other
            if out < 0:
                break
            place, most = -1, -1
            if sizes[out] <= room[start]:
                place, most = start, len(links[out] & inside[start])
            near = around[out]
            for other in (where[near[int(draw() * len(near))]] if near else goal, int(draw() * len(room))):
                if other != goal and sizes[out] <= room[other]:
                    count = len(links[out] & inside[other])
                    if count > most:
                        place, most = other, count
            if place < 0:
                break
            gain += most - least
            log.append((out, goal))
            move(out, place)
        if room[goal] >= 0 and (gain >= 0 or draw() < math.exp(gain / heat)):
            won += gain
        else:
            for moved, back in reversed(log):
                move(moved, back)
    return [sorted(window) for window in (listed if won > 0 else windows) if window]

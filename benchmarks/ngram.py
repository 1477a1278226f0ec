"""An n-gram model over token ids as a baseline: interpolated modified Kneser-Ney, as KenLM estimates it.

Chen and Goodman (1999), section 3; Heafield et al. (2013), section 3: adjusted counts, three discounts an order from
counts of counts, interpolation down to the uniform distribution. Sequences are read one by one, each with a start mark
before it; nothing reaches across.
"""

import numpy as np

Ids = np.ndarray


class NGram:
    """Estimated from token ids, integers [N, S] below `vocabulary`."""

    def __init__(self, sequences: Ids, vocabulary: int, order: int = 5) -> None:
        self.order, self.vocabulary = order, vocabulary
        self.start = vocabulary
        tokens = self._marked(sequences)
        # The k-grams that end at each place, as numbers: a gram is its first k - 1 tokens' number and its last token.
        self.keys: list[Ids] = []
        grams, firsts = [], []
        before = np.zeros(tokens.shape, np.int64)
        for k in range(1, order + 1):
            there = tokens[:, k - 1 :]
            key = before[:, : there.shape[1]] * (vocabulary + 1) + there
            known, first, number = np.unique(key, return_index=True, return_inverse=True)
            self.keys.append(known)
            number = number.reshape(key.shape)
            grams.append(number)
            firsts.append(first)
            before = number
        self.counts, self.totals, self.backoffs, self.discounts = [], [], [], []
        for k in range(1, order + 1):
            counts = self._adjusted(tokens, grams, firsts, k)
            self._estimate(counts, self.keys[k - 1] // (vocabulary + 1))

    def _marked(self, sequences: Ids) -> Ids:
        return np.pad(sequences.astype(np.int64), ((0, 0), (1, 0)), constant_values=self.start)

    def _adjusted(self, tokens: Ids, grams: list[Ids], firsts: list[Ids], k: int) -> Ids:
        """How often a k-gram occurs, at the highest order or after the start mark; else after how many tokens."""
        size = len(self.keys[k - 1])
        raw = np.bincount(grams[k - 1].ravel(), minlength=size)
        if k == self.order:
            return raw
        # Each longer gram once; the gram without its first token ends at the same place.
        row, column = np.unravel_index(firsts[k], grams[k].shape)
        continued = np.bincount(grams[k - 1][row, column + 1], minlength=size)
        row, column = np.unravel_index(firsts[k - 1], grams[k - 1].shape)
        return np.where(tokens[row, column] == self.start, raw, continued)

    def _estimate(self, counts: Ids, contexts: Ids) -> None:
        # The start mark itself is never predicted.
        predicted = self.keys[len(self.counts)] % (self.vocabulary + 1) != self.start
        counts = np.where(predicted, counts, 0)
        n1, n2, n3, n4 = (max(1, int((counts == c).sum())) for c in (1, 2, 3, 4))
        share = n1 / (n1 + 2 * n2)
        discount = np.array([0.0, 1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3])
        # Few counts give strange discounts; those of KenLM's fallback are 0.5, 1 and 1.5.
        usual = np.array([0.0, 0.5, 1.0, 1.5])
        discount = np.where((discount < 0) | (discount > np.arange(4)), usual, discount)
        size = int(contexts.max()) + 1
        taken = discount[np.minimum(counts, 3)]
        total = np.bincount(contexts, counts, size)
        self.counts.append(counts)
        self.discounts.append(discount)
        self.totals.append(total)
        self.backoffs.append(np.bincount(contexts, taken, size) / np.maximum(total, 1))

    def probabilities(self, sequences: Ids) -> np.ndarray:
        """The probability of each token after those before it in its sequence, float64 [N, S]."""
        tokens = self._marked(sequences)
        n, length = tokens.shape
        result = np.full((n, length - 1), 1 / self.vocabulary)
        before = np.zeros(
            (n, length), np.int64
        )  # number of the context that ends before each place, -1 for unseen
        for k in range(1, self.order + 1):
            # Places whose k - 1 tokens before lie in the sequence; of the others the shorter context has the last word.
            there, context = tokens[:, k - 1 :], before[:, : length - k + 1]
            key = np.where(context < 0, -1, context * (self.vocabulary + 1) + there)
            place = np.minimum(np.searchsorted(self.keys[k - 1], key), len(self.keys[k - 1]) - 1)
            number = np.where(self.keys[k - 1][place] == key, place, -1)
            self._mix(result[:, max(0, k - 2) :], number, context, k)
            before = number
        return result

    def _mix(self, result: np.ndarray, number: Ids, context: Ids, k: int) -> None:
        if k == 1:  # the start mark has the first place and is not predicted
            number, context = number[:, 1:], context[:, 1:]
        total = self.totals[k - 1]
        inside = (context >= 0) & (context < len(total))
        context = np.where(inside, context, 0)
        seen = inside & (total[context] > 0)
        count = np.where(number >= 0, self.counts[k - 1][np.maximum(number, 0)], 0)
        kept = count - self.discounts[k - 1][np.minimum(count, 3)]
        mixed = kept / np.maximum(total[context], 1) + self.backoffs[k - 1][context] * result
        np.copyto(result, mixed, where=seen)

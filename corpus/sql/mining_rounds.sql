-- What did each mining round collect, how much of it was known before, and how good was its classifier?
SELECT round, target, pages, collected, new, already_collected, cut, precision, recall, positives, negatives,
       domains_over_share, paths_accepted, missed, stopped
FROM mining_rounds
ORDER BY target, round;

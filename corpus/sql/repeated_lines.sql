-- Which lines were taken out because they occur in many documents?
SELECT stage, line, sum(times)::BIGINT AS times
FROM repeated_lines
GROUP BY stage, line
ORDER BY stage, times DESC, line;

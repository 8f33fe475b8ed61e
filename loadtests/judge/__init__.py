"""What the counts mean: figures, verdicts, intervals, doubts. Pure: numbers in, numbers out."""

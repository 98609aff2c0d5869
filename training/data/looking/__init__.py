"""Looking at pictures and layouts before training; free of torch, so that helpers start at once."""

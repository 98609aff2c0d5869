"""What a run will do and take, told before its first step: data, weights, epochs, memory and time."""

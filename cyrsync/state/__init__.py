"""What is kept between runs, and the lock that keeps runs apart."""

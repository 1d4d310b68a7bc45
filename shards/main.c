/*
 * main: the process.
 */
int main(void)
{
    return 0;
}
